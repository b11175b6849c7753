"""On a real Triton, the gateway learns each route's time, and refuses hopeless images before their route."""

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.builders import image_bytes
from tests.integration.service.conftest import serve
from tests.integration.service.test_path_deadlines import (
    LONG_MS,
    SLOW_S,
    TIMEOUT_MS,
    assert_router_and_route_are_timed,
    assert_too_slow,
)
from tests.integration.triton.test_gateway import wait_for
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, whole_answer
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

pytestmark = pytest.mark.heavy

FILES = tuple(map(image_bytes, (RED, GREEN, BLUE)))
PARTS = ["", "-router", *(f"-path{path}-k{top_k}" for path in range(3) for top_k in (1, 2))]
HEAVY = (2, 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a server that has every route of a model; the graph of path 2 at top_k 2 computes much more."""
    root = tmp_path_factory.mktemp("early")
    build_paths(root, heavy="path2-k2")
    write_all_configs(root, TritonOptions(instances=1))
    with start_triton(root, load=[f"routed-openvino{part}" for part in PARTS]) as running:
        yield running


@pytest.fixture(params=[None, 1], ids=["strict", "lenient"])
def gateway(request, server):
    """Serve a gateway that has no probes between the images, and may run one expert if it is lenient."""
    settings = {
        "triton": {"url": server.grpc_url, "refresh_s": 0.3},
        "breaker": {"probe_interval_s": 60, "probe_timeout_s": 5},
        "brownout": {"min_top_k": request.param},
    }
    with serve(backends=("triton",), repository="/nowhere", **settings) as running:
        wait_for(lambda: running.detect(FILES[0], timeout_ms=LONG_MS).status_code == 200)
        yield running


@pytest.fixture
def asked(server):
    """Return a function that says how many images the model of a graph has answered."""
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield (
            lambda graph: (
                client.get_inference_statistics(f"routed-openvino-{graph}").model_stats[0].inference_count
            )
        )


def times_of(gateway):
    version = gateway.app.state.service.models.routes("routed")["triton"].current
    return version.backend.models.times


def slow_path(gateway):
    """Let path 2 have taken SLOW_S seconds at top_k 2, and every other route much less."""
    for path in range(3):
        for top_k in (1, 2):
            for _ in range(200):
                times_of(gateway).learn((path, top_k), SLOW_S if (path, top_k) == HEAVY else 0.001)


@pytest.mark.parametrize("gateway", [None], indirect=True)
def test_the_time_of_a_route_that_computes_more_is_learned_from_triton(gateway):
    for _ in range(4):
        for path in (0, 2):
            assert gateway.detect(FILES[path], timeout_ms=LONG_MS).json()["moe"]["path"]["index"] == path
    light_s, heavy_s = (times_of(gateway).expected_s((path, 2)) for path in (0, 2))
    assert heavy_s > 2 * light_s


@pytest.mark.parametrize("gateway", [None], indirect=True)
def test_a_hopeless_image_is_refused_before_its_route_is_asked(gateway, asked):
    slow_path(gateway)
    before = {graph: asked(graph) for graph in ("router", "path2-k2")}
    assert_too_slow(gateway.detect(FILES[2], timeout_ms=TIMEOUT_MS))
    assert {graph: asked(graph) - count for graph, count in before.items()} == {"router": 1, "path2-k2": 0}
    for path in (0, 1):
        assert gateway.detect(FILES[path], timeout_ms=TIMEOUT_MS).json()["moe"]["path"]["index"] == path
    assert gateway.detect(FILES[2], timeout_ms=TIMEOUT_MS, top_k=1).status_code == 200
    assert gateway.detect(FILES[2], timeout_ms=LONG_MS).json()["moe"]["top_k"] == 2
    after = gateway.metrics()
    assert after['sparsight_requests_rejected_total{reason="route-too-slow"}'] == 1
    assert after['sparsight_breaker_state{backend="triton",model="routed"}'] == 0
    assert not [name for name in after if name.startswith("sparsight_backend_errors_total") and after[name]]


@pytest.mark.parametrize("gateway", [1], indirect=True)
def test_the_cheaper_sibling_answers_if_the_request_allows_it(gateway, asked):
    slow_path(gateway)
    before = [asked(f"path2-k{top_k}") for top_k in (1, 2)]
    answer = gateway.detect(FILES[2], timeout_ms=TIMEOUT_MS, conf=0.1).json()
    moe, (found,) = answer["moe"], answer["predictions"]
    assert (moe["path"]["index"], moe["top_k"], moe["degraded"]) == (2, 1, True)
    assert found["confidence"] == pytest.approx(float(whole_answer(BLUE, 1)["scores"][0, 0]), abs=1e-4)
    assert [layer["active"] for layer in moe["layers"]] == [[2], [2]]
    assert np.subtract([asked(f"path2-k{top_k}") for top_k in (1, 2)], before).tolist() == [1, 0]
    for pinned in ({"top_k": 2}, {"quality": "high"}):
        assert_too_slow(gateway.detect(FILES[2], timeout_ms=TIMEOUT_MS, **pinned))


@pytest.mark.parametrize("gateway", [None], indirect=True)
def test_the_router_has_a_time_of_its_own_and_each_route_a_series(gateway):
    assert_router_and_route_are_timed(gateway, "triton")
