"""Which versions are served, whether the service is ready, and the metrics of both."""

import pytest
from prometheus_client import CollectorRegistry

from service.errors import NotReady, UnknownModel
from service.metrics import Metrics
from service.serving.models import Models
from service.settings import Settings
from service.traffic.routes import VersionStatus
from tests.unit.service.traffic.route_builders import ScriptedBackend, make_version


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def models(registry):
    return Models(Settings(backends="triton,openvino"), Metrics(registry))


def put(models, manifest, backend, *versions):
    served = {version: make_version(manifest, backend, version, ScriptedBackend()) for version in versions}
    statuses = [VersionStatus(one.manifest, one.sha256, "ready") for one in served.values()]
    models.put(backend, manifest.name, served, statuses)
    models.settle_default()


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def info(registry, version):
    labels = {"model": "tiny", "version": version, "sha256": f"sha-{version}", "routing": "normal"}
    return registry.get_sample_value("sparsight_model_info", labels)


def test_without_a_model_it_is_not_ready_and_says_what_it_waits_for(models):
    models.notes["triton"] = "triton does not answer"
    assert models.why_not_ready() == "there is no model yet; triton does not answer"
    for name in (None, "tiny"):
        with pytest.raises(NotReady, match="no model yet; triton does not answer"):
            models.routes(name)


def test_one_backend_that_is_well_is_enough(models, artifact, registry):
    put(models, artifact.manifest, "openvino", "1")
    assert models.why_not_ready() is None
    assert models.first_ready.is_set()
    assert list(models.routes(None)) == ["triton", "openvino"]
    assert value(registry, "sparsight_backend_up", backend="openvino") == 1
    with pytest.raises(UnknownModel, match="the models are tiny"):
        models.routes("huge")


def test_a_backend_is_down_while_its_breaker_is_open(models, artifact, registry):
    put(models, artifact.manifest, "triton", "1")
    breaker = models.routes("tiny")["triton"].breaker
    breaker.failed(breaker.begin(), "connection refused", at_once=True)
    labels = {"backend": "triton", "model": "tiny"}
    assert value(registry, "sparsight_breaker_state", **labels) == 2
    assert value(registry, "sparsight_backend_up", backend="triton") == 0
    assert "connection refused" in models.why_not_ready()
    breaker.probe_started()
    assert value(registry, "sparsight_breaker_state", **labels) == 1
    breaker.probe_succeeded()
    assert value(registry, "sparsight_backend_up", backend="triton") == 1
    assert models.why_not_ready() is None


def test_an_outage_is_logged_once_however_many_probes_fail(models, artifact, caplog):
    caplog.set_level("INFO")
    put(models, artifact.manifest, "triton", "1")
    breaker = models.routes("tiny")["triton"].breaker
    for _ in range(2):
        breaker.failed(breaker.begin(), "connection refused", at_once=True)
        for _ in range(3):
            breaker.probe_started()
            breaker.probe_failed(breaker.begin(), "still refused")
        breaker.probe_started()
        breaker.probe_undecided()
        breaker.probe_started()
        breaker.probe_succeeded()
    logged = [line for line in caplog.records if line.msg.startswith("breaker_")]
    assert [line.msg for line in logged] == ["breaker_opened", "breaker_closed"] * 2
    assert logged[0].why == "connection refused"


def test_a_swap_changes_what_is_served_and_what_is_announced(models, artifact, registry):
    put(models, artifact.manifest, "triton", "1")
    put(models, artifact.manifest, "triton", "1", "2")
    assert models.in_force()[0].manifest.version == "2"
    assert (info(registry, "1"), info(registry, "2")) == (1, 1)
    put(models, artifact.manifest, "triton", "2")
    assert (info(registry, "1"), info(registry, "2")) == (None, 1)
    put(models, artifact.manifest, "triton")
    assert models.in_force() == ()
    assert value(registry, "sparsight_backend_up", backend="triton") == 0


def test_the_default_is_the_first_by_name_and_stays_when_others_come(models, artifact):
    put(models, artifact.manifest, "openvino", "1")
    put(models, artifact.manifest.model_copy(update={"name": "aardvark"}), "triton", "1")
    assert models.default == "tiny"
    assert models.names == ("aardvark", "tiny")
