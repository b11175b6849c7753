"""The queries of the dashboard's Triton row work on a real Prometheus that scrapes a real Triton."""

import time

import pytest

from tests.contract.test_dashboards import TRITON_CUSTOM, TRITON_OWN
from tests.dashboards import DASHBOARDS, dashboard_queries, filled_in, series_in
from tests.integration.monitoring.conftest import start_prometheus, why_no_prometheus
from tests.integration.monitoring.direct_callers import ENSEMBLE, ask_triton, copy_starter
from tests.triton_server import start_triton, why_no_triton

WHY_NOT = why_no_prometheus() or why_no_triton()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
    pytest.mark.heavy,
]

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
    repository = copy_starter(tmp_path_factory.mktemp("repository"))
    with start_triton(repository) as triton:
        address = triton.metrics_url.removeprefix("http://").removesuffix("/metrics")
        with start_prometheus(tmp_path_factory.mktemp("prometheus"), triton=address) as running:
            running.wait_for('up{job="triton"} == 1')
            for _ in range(IMAGES):  # slowly, so that several scrapes see the counters at different heights
                assert ask_triton(triton.grpc_url) == ""
                time.sleep(0.1)
            running.wait_for(f"sum(sparsight_triton_images_total) == {IMAGES}")
            running.wait_for(f"sum(nv_inference_request_success{{model='{ENSEMBLE}'}}) == {IMAGES}")
            yield running


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
