"""The queries of the dashboard's Triton row work on a real Prometheus that scrapes a real Triton."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tests.contract.test_dashboards import TRITON_CUSTOM, TRITON_OWN
from tests.dashboards import DASHBOARDS, dashboard_queries, filled_in, series_in
from tests.integration.monitoring.conftest import start_prometheus, why_no_prometheus
from tests.triton_server import start_triton, why_no_triton

WHY_NOT = why_no_prometheus() or why_no_triton()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
    pytest.mark.heavy,
]

ROOT = Path(__file__).resolve().parents[3]
MODELS = [f"starter-openvino{part}" for part in ("", "-nms", "-detect")]
INTERVAL = "5s"
IMAGES = 20
OF_TRITON = [
    pytest.param(query, id=query.place)
    for path in DASHBOARDS
    for query in dashboard_queries(path)
    if all(name in TRITON_CUSTOM | TRITON_OWN for name in series_in(query.expression))
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Give a Prometheus that has seen Triton answer a direct client for a few seconds."""
    repository = tmp_path_factory.mktemp("repository")
    for model in MODELS:
        shutil.copytree(ROOT / "model_repository" / model, repository / model)
    with start_triton(repository) as triton:
        address = triton.metrics_url.removeprefix("http://").removesuffix("/metrics")
        with start_prometheus(tmp_path_factory.mktemp("prometheus"), triton=address) as running:
            running.wait_for('up{job="triton"} == 1')
            for _ in range(IMAGES):  # slowly, so that several scrapes see the counters at different heights
                detect_golden_picture(triton.grpc_url)
                time.sleep(0.1)
            running.wait_for(f"sum(sparsight_triton_images_total) == {IMAGES}")
            running.wait_for(f"sum(nv_inference_request_success{{model='{MODELS[-1]}'}}) == {IMAGES}")
            yield running


def detect_golden_picture(url):
    grpc = pytest.importorskip("tritonclient.grpc")
    images = np.load(ROOT / "model_repository" / "starter-openvino" / "1" / "golden.npz")["input"]
    values = {
        "images": images,
        "top_k": np.array([[2]], np.int64),
        "weight_threshold": np.array([[0]], np.float32),
        "conf": np.array([0.25], np.float32),
        "iou": np.array([0.7], np.float32),
        "max_det": np.array([300], np.int32),
    }
    inputs = []
    for name, value in values.items():
        kind = {"uint8": "UINT8", "int64": "INT64", "int32": "INT32", "float32": "FP32"}[value.dtype.name]
        inputs.append(grpc.InferInput(name, value.shape, kind).set_data_from_numpy(value))
    with grpc.InferenceServerClient(url) as client:
        return client.infer("starter-openvino-detect", inputs)


@pytest.mark.parametrize("query", OF_TRITON)
def test_prometheus_has_what_the_triton_row_shows(prometheus, query):
    found = prometheus.query_range(filled_in(query.expression, interval=INTERVAL, model="starter"))
    needs_a_gpu = any(name.startswith("nv_gpu") for name in series_in(query.expression))
    quiet = any(name.endswith("_failure") for name in series_in(query.expression))
    if not needs_a_gpu and not quiet:
        assert found, query.expression


def test_the_series_of_triton_are_called_what_the_dashboards_think(prometheus):
    served = set(prometheus.ask("label/__name__/values"))
    assert {name for name in TRITON_OWN if "_gpu_" not in name and "_pinned_" not in name} <= served
    assert served >= TRITON_CUSTOM


def test_a_direct_client_is_counted_once_and_its_experts_sum_to_top_k(prometheus):
    counts = {
        name: float(prometheus.query(f"sum({name})")[0]["value"][1])
        for name in (
            "sparsight_triton_images_total",
            'nv_inference_request_success{model="starter-openvino-detect"}',
            'sparsight_triton_expert_activations_total{layer="backbone.p4"}',
            'sparsight_triton_expert_gate_weight_total{layer="backbone.p4"}',
        )
    }
    images, requests, activations, weight = counts.values()
    assert images == requests == IMAGES
    assert activations == 2 * images
    assert weight == pytest.approx(images, rel=1e-4)
