"""An image of a model with paths is refused, or takes a cheaper route, if its own would end too late."""

import asyncio
import time

import numpy as np
import pytest

from service.artifact.repository import read_artifact
from service.backends.protocol import RouteTerms, infer
from service.backends.table import BACKENDS
from service.errors import DeadlineExceeded, RouteTooSlow
from service.request import RequestContext
from service.settings import Settings
from service.timeline import Step
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, whole_answer

FROM_ALL = 1e-5  # largest difference to the outputs computed with NumPy


class Asked:
    """A job for one image whose request has terms; its result is the outputs."""

    def __init__(self, image, top_k=2, cheaper=()):
        self.terms = RouteTerms(cheaper)
        self.inputs = {"images": image[None], "top_k": np.array([[top_k]], np.int64)}

    def prepare(self):
        return self.inputs

    def finish(self, outputs, infer_s):
        return outputs


@pytest.fixture(params=["openvino", "onnx"])
def backend(request, tmp_path):
    target = request.param
    artifact = read_artifact(build_paths(tmp_path, target=target).folder)
    opened = BACKENDS[target].open(artifact, Settings(workers=1))
    yield opened
    asyncio.run(opened.close())


def run(backend, job, allowed_s):
    return asyncio.run(backend.run(job, RequestContext.within(allowed_s)))


def took(backend, path, top_k, seconds):
    """Let a route have taken so many seconds."""
    for _ in range(10):
        backend.times.learn((path, top_k), seconds)


def test_just_below_its_expected_time_an_image_is_refused_at_once_and_just_above_it_runs(backend):
    took(backend, 2, 2, 5.0)
    began = time.perf_counter()
    with pytest.raises(RouteTooSlow, match=r"path 2, which needs about 5 s at top_k 2 here, and 4\.\d s"):
        run(backend, Asked(BLUE), 4.95)
    assert time.perf_counter() - began < 2
    assert backend.times.expected_s((2, 2)) == pytest.approx(5.0)  # so the graph did not run
    job = Asked(BLUE)
    outputs = run(backend, job, 5.5)
    np.testing.assert_allclose(outputs["scores"], whole_answer(BLUE, 2)["scores"], atol=FROM_ALL)
    assert job.terms.top_k is None
    assert 0 < job.terms.router_s < 5


def test_images_on_other_paths_have_their_own_time(backend):
    took(backend, 2, 2, 5.0)
    took(backend, 0, 2, 0.01)
    assert run(backend, Asked(RED), 2.0)["class_ids"][0, 0] == 0
    with pytest.raises(RouteTooSlow):
        run(backend, Asked(BLUE), 2.0)


def test_before_any_run_every_image_runs(backend):
    assert backend.times.expected_s((1, 2)) is None
    assert run(backend, Asked(GREEN), 2.0)["class_ids"][0, 0] == 1


def test_an_image_whose_deadline_has_passed_is_not_said_to_have_a_slow_route(backend):
    took(backend, 2, 2, 5.0)
    with pytest.raises(DeadlineExceeded):
        run(backend, Asked(BLUE), 1e-6)


def test_the_cheaper_sibling_runs_if_it_fits_and_the_job_is_told(backend):
    took(backend, 2, 2, 5.0)
    took(backend, 2, 1, 0.01)
    job = Asked(BLUE, cheaper=(1,))
    outputs = run(backend, job, 2.0)
    for name, value in whole_answer(BLUE, 1).items():
        np.testing.assert_allclose(outputs[name], value, atol=FROM_ALL, err_msg=name)
    assert job.terms.top_k == 1


def test_with_enough_time_the_sibling_does_not_run(backend):
    took(backend, 2, 2, 5.0)
    job = Asked(BLUE, cheaper=(1,))
    assert run(backend, job, 6.0)["scores"][0, 0] == pytest.approx(whole_answer(BLUE, 2)["scores"][0, 0])
    assert job.terms.top_k is None


def test_without_a_sibling_the_error_names_the_top_k_that_would_fit(backend):
    took(backend, 2, 2, 5.0)
    took(backend, 2, 1, 0.01)
    with pytest.raises(RouteTooSlow, match=r"are left; allow more time with timeout_ms, or ask for top_k=1$"):
        run(backend, Asked(BLUE), 2.0)


def test_if_the_sibling_does_not_fit_either_the_image_is_refused(backend):
    took(backend, 2, 2, 5.0)
    took(backend, 2, 1, 3.0)
    with pytest.raises(RouteTooSlow, match=r"about 5 s at top_k 2 .* with timeout_ms$"):
        run(backend, Asked(BLUE, cheaper=(1,)), 2.0)
    with pytest.raises(RouteTooSlow, match=r"about 3 s at top_k 1 .* with timeout_ms$"):
        run(backend, Asked(BLUE, top_k=1, cheaper=(1,)), 2.0)


def test_jobs_without_terms_run_however_long_their_route_takes(backend):
    took(backend, 2, 2, 5.0)
    inputs = {"images": BLUE[None], "top_k": np.array([[2]], np.int64)}
    outputs = asyncio.run(infer(backend, inputs, RequestContext.within(2.0)))
    assert outputs["class_ids"][0, 0] == 2


@pytest.mark.parametrize("cheaper", [(), (1,)])
def test_an_image_that_waited_for_the_engine_is_judged_by_the_time_that_is_then_left(backend, cheaper):
    took(backend, 2, 2, 5.0)
    took(backend, 2, 1, 0.01)
    job = Asked(BLUE, cheaper=cheaper)

    async def waiting():
        held = 0
        while backend._room.acquire(blocking=False):
            held += 1
        work = asyncio.ensure_future(backend.run(job, RequestContext.within(5.5)))
        while job.terms.router_s is None:  # it is routed while all streams are busy
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.6)
        backend._room.release(held)
        return await work

    if cheaper:
        assert asyncio.run(waiting())["scores"][0, 0] == pytest.approx(whole_answer(BLUE, 1)["scores"][0, 0])
        assert job.terms.top_k == 1
    else:
        with pytest.raises(RouteTooSlow):
            asyncio.run(waiting())


def test_the_router_is_a_step_of_its_own_before_the_graph(backend):
    step = Step("attempt")
    asyncio.run(backend.run(Asked(RED), RequestContext.within(5, step=step)))
    router, graph = step.last("router"), step.last("infer")
    assert router.began < router.ended <= graph.began < graph.ended


@pytest.fixture
def heavy(tmp_path):
    artifact = read_artifact(build_paths(tmp_path, heavy="path2-k2").folder)
    opened = BACKENDS["openvino"].open(artifact, Settings(workers=1))
    yield opened
    asyncio.run(opened.close())


def test_the_time_of_a_path_that_computes_more_is_learned(heavy):
    for _ in range(3):
        for image in (RED, BLUE):
            run(heavy, Asked(image), 20)
    light_s, heavy_s = (heavy.times.expected_s((path, 2)) for path in (0, 2))
    assert heavy_s > 5 * light_s
    between_s = (light_s + heavy_s) / 2  # not as a real deadline: other programs may take the cores
    assert heavy.times.choose((0, 2), (), between_s) == (0, 2)
    assert heavy.times.choose((2, 2), (1,), between_s) == (2, 1)  # by its operations: it never ran
    with pytest.raises(RouteTooSlow):
        heavy.times.choose((2, 2), (), between_s)


def test_a_path_without_runs_is_expected_to_take_the_time_of_its_operations(heavy):
    took(heavy, 0, 2, 1.0)  # 5.8 GFLOPs; the heavy route has 8.2 more
    assert heavy.times.expected_s((2, 2)) == pytest.approx(2.4, rel=0.02)
    with pytest.raises(RouteTooSlow, match=r"about 2\.\d+ s at top_k 2"):
        run(heavy, Asked(BLUE), 2.0)
    assert run(heavy, Asked(BLUE), 3.0)["class_ids"][0, 0] == 2
    assert heavy.times.expected_s((2, 2)) < 1  # its own time now
