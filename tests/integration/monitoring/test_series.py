"""A process of the gateway exports fewer than 3,000 series, even with every series about experts."""

from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.access.table import RULES
from service.app import create_app
from service.artifact.manifest import parse_manifest
from service.errors import BACKEND_ERRORS, slug_of
from service.expert_metrics import AuditOutcome, ExpertMetrics
from service.metrics import Metrics
from service.settings import Settings
from service.types import Timings
from tests.integration.service.conftest import serve, wait_until_ready
from tests.triton_server import ROOT

LIMIT = 3000
BACKENDS = ("openvino", "onnx")
CODES = (200, 401, 403, 404, 413, 415, 422, 429, 500, 503, 504)  # any route may end in any of these


def starter():
    path = ROOT / "model_repository" / "starter-openvino" / "1" / "manifest.json"
    return parse_manifest(path.read_bytes(), str(path))


def count(registry):
    return sum(len(family.samples) for family in registry.collect())


def fill_experts(metrics, manifest, version):
    """Set every series about the experts of one version on one backend."""
    for name, series in vars(metrics).items():
        labels = series._labelnames
        if not labels or labels[0] != "model" or name == "quarantined":
            continue
        layers = [layer.layer for layer in manifest.mixture] if "layer" in labels else [""]
        if labels[-1] == "layer":
            layers.append("path")
        experts = [str(n) for n in range(4)] if "expert" in labels else [""]
        outcomes = get_args(AuditOutcome) if "outcome" in labels else [""]
        for layer in layers:
            for expert in experts:
                for outcome in outcomes:
                    series.labels(*version, *(each for each in (layer, expert, outcome) if each))


def test_the_starter_on_two_backends_with_every_series_set_stays_below_the_limit():
    registry, manifest = CollectorRegistry(), starter()
    create_app(Settings(backends=BACKENDS), registry)  # what it exports before the first request
    metrics, experts = Metrics(CollectorRegistry()), ExpertMetrics(CollectorRegistry())
    for route in (*RULES, "other"):
        for code in CODES:
            metrics.request_started()
            metrics.request_ended(route, code, 0.1)
    metrics.declare_model(manifest.name, manifest.version, "0" * 64, manifest.routing)
    for layer in manifest.mixture:
        metrics.declare_experts(
            manifest.name, manifest.version, layer.layer, layer.num_experts, layer.expert_share
        )
    for backend in BACKENDS:
        metrics.declare_backend(backend, map(slug_of, BACKEND_ERRORS))
        metrics.record_stages(backend, Timings(0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.1))
        for path, top_k in product(range(8), (1, 2)):  # of a model with paths beside the starter
            metrics.paths.record("routed", "1", backend, path, top_k, 0.1)
        metrics.record_duration(manifest.name, manifest.version, backend, 0.5)
        metrics.set_breaker_state(backend, manifest.name, 0)
        experts.quarantined.labels(manifest.name, backend)
        fill_experts(experts, manifest, (manifest.name, manifest.version, backend))
    total = count(metrics.registry) + count(registry) + sum(
        len(family.samples) for series in vars(experts).values() for family in series.collect()
    )  # fmt: skip
    assert 1000 < total < LIMIT


def test_a_real_gateway_with_the_starter_stays_far_below_the_limit():
    with serve(repository=ROOT / "model_repository", default_model="starter") as gateway:
        assert wait_until_ready(gateway).status_code == 200
        text = gateway.client.get("/metrics").text
        names = [sample.name for family in text_string_to_metric_families(text) for sample in family.samples]
        assert "sparsight_process_resident_memory_bytes" in names
        assert "sparsight_process_cpu_seconds_total" in names
        assert len(names) < LIMIT / 2
