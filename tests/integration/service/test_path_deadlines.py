"""An image whose path takes too long for its deadline gets an early 504, or runs at a lower top_k."""

import time

import pytest

from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, whole_answer

FILES = tuple(map(image_bytes, (RED, GREEN, BLUE)))
SLOW_S = 5.0  # that path 2 has taken at top_k 2
TIMEOUT_MS = 3000
LONG_MS = 30_000
BREAKER = 'sparsight_breaker_state{backend="openvino",model="routed"}'
REFUSED = 'sparsight_requests_rejected_total{reason="route-too-slow"}'


def backend_of(running):
    return running.app.state.service.models.routes(None)["openvino"].current.backend


def slow_path(running):
    """Set the learned time of path 2 at top_k 2 to SLOW_S seconds, and of other routes to much less."""
    times = backend_of(running).times
    for path in range(3):
        for top_k in (1, 2):
            for _ in range(200):  # enough even after fast runs, which lower the mean at once
                times.learn((path, top_k), SLOW_S if (path, top_k) == (2, 2) else 0.001)


def running_with(folder, **settings):
    build_paths(folder)
    return serve(repository=folder, **settings)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Serve a gateway that never runs fewer experts."""
    with running_with(tmp_path_factory.mktemp("strict")) as served:
        assert wait_until_ready(served).status_code == 200
        yield served


@pytest.fixture(scope="module")
def lenient(tmp_path_factory):
    """Serve a gateway that may run one expert."""
    with running_with(tmp_path_factory.mktemp("lenient"), brownout={"min_top_k": 1}) as served:
        assert wait_until_ready(served).status_code == 200
        yield served


def assert_too_slow(answer, *, top_k=2):
    assert answer.status_code == 504
    problem = answer.json()
    assert problem["type"].endswith(":route-too-slow")
    assert f"path 2, which needs about 5 s at top_k {top_k} here" in problem["detail"]
    assert problem["detail"].endswith("allow more time with timeout_ms, or ask for top_k=1")


def assert_router_and_route_are_timed(running, backend):
    """Check that an answer and the metrics have the time of the router, and that of path 1 at top_k 1."""
    route = f'sparsight_route_seconds_%s{{backend="{backend}",model="routed",path="1",top_k="1",version="1"}}'
    stage = f'sparsight_stage_duration_seconds_count{{backend="{backend}",stage="router"}}'
    before = running.metrics()
    times = running.detect(FILES[1], top_k=1, timeout_ms=LONG_MS).json()["timing_ms"]
    after = running.metrics()
    assert list(times) == ["decode", "queue", "preprocess", "router", "infer", "postprocess", "total"]
    assert times["router"] > 0
    assert sum(times.values()) - times["total"] == pytest.approx(times["total"], rel=0.2, abs=5)
    assert after[stage] == before.get(stage, 0) + 1
    assert after[route % "count"] == before.get(route % "count", 0) + 1
    took_ms = (after[route % "sum"] - before.get(route % "sum", 0)) * 1000
    assert took_ms == pytest.approx(times["infer"], abs=0.006)


def test_an_image_whose_path_is_too_slow_is_refused_at_once_and_others_are_answered(strict):
    slow_path(strict)
    began = time.perf_counter()
    assert_too_slow(strict.detect(FILES[2], timeout_ms=TIMEOUT_MS))
    assert time.perf_counter() - began < 2
    for path in (0, 1):
        assert strict.detect(FILES[path], timeout_ms=TIMEOUT_MS).json()["moe"]["path"]["index"] == path
    assert strict.detect(FILES[2], timeout_ms=TIMEOUT_MS, top_k=1).status_code == 200


def test_with_enough_time_the_image_is_answered(strict):
    slow_path(strict)
    answer = strict.detect(FILES[2], timeout_ms=2 * TIMEOUT_MS)
    assert (answer.status_code, answer.json()["moe"]["top_k"]) == (200, 2)


def test_a_refusal_is_counted_and_says_nothing_against_the_backend(strict):
    slow_path(strict)
    before = strict.metrics()[REFUSED]
    for _ in range(4):  # more than the failures that open a breaker
        assert strict.detect(FILES[2], timeout_ms=TIMEOUT_MS).status_code == 504
    after = strict.metrics()
    assert after[REFUSED] == before + 4
    failures = [name for name in after if name.startswith("sparsight_backend_errors_total") and after[name]]
    assert (failures, after[BREAKER]) == ([], 0)


def test_of_several_images_only_the_slow_one_gets_a_problem(strict):
    slow_path(strict)
    files = [("image", (f"{i}.png", data, "image/png")) for i, data in enumerate(FILES)]
    answer = strict.client.post("/detect", params={"timeout_ms": TIMEOUT_MS}, files=files)
    first, second, third = answer.json()["results"]
    assert [one["moe"]["path"]["index"] for one in (first, second)] == [0, 1]
    assert third["type"].endswith(":route-too-slow")


def test_the_sibling_answers_if_brownout_is_allowed_and_the_answer_says_so(lenient):
    slow_path(lenient)
    degraded = 'sparsight_degraded_images_total{model="routed"}'
    before = lenient.metrics()[degraded]
    answer = lenient.detect(FILES[2], timeout_ms=TIMEOUT_MS, conf=0.1).json()
    moe, (found,) = answer["moe"], answer["predictions"]
    assert (moe["path"]["index"], moe["top_k"], moe["degraded"]) == (2, 1, True)
    assert found["confidence"] == pytest.approx(float(whole_answer(BLUE, 1)["scores"][0, 0]), abs=1e-4)
    assert [layer["active"] for layer in moe["layers"]] == [[2], [2]]
    assert moe["gflops"]["used"] == pytest.approx(4.0 + 0.5 + 0.05)
    assert lenient.metrics()[degraded] == before + 1


def test_with_enough_time_nothing_is_degraded(lenient):
    slow_path(lenient)
    moe = lenient.detect(FILES[2], timeout_ms=2 * TIMEOUT_MS).json()["moe"]
    assert (moe["top_k"], moe["degraded"]) == (2, False)


@pytest.mark.parametrize("pinned", [{"top_k": 2}, {"quality": "high"}])
def test_a_request_that_pins_its_quality_is_refused_instead(lenient, pinned):
    slow_path(lenient)
    assert_too_slow(lenient.detect(FILES[2], timeout_ms=TIMEOUT_MS, **pinned))


def test_the_router_has_a_time_of_its_own_and_each_route_a_series(strict):
    assert_router_and_route_are_timed(strict, "openvino")


def test_a_model_with_one_expert_fewer_keeps_its_explanation_on_the_route_that_ran(tmp_path):
    with running_with(tmp_path, brownout={"min_top_k": 1}, explain=True) as running:
        assert wait_until_ready(running).status_code == 200
        slow_path(running)
        answer = running.detect(FILES[2], timeout_ms=4500, explain="route").json()
        assert (answer["moe"]["top_k"], answer["moe"]["degraded"]) == (1, True)
        assert answer["explanation"]["layers"][0]["expert"] == 2
