"""A time is learned from images that wait for no others, and is used before the route is asked."""

import asyncio
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import pytest

from service.artifact.repository import read_artifact
from service.backends.protocol import RouteTerms
from service.backends.triton.path_models import PathModels
from service.backends.triton.sender import Placed
from service.errors import BackendFailed, BackendUnavailable, DeadlineExceeded, RouteTooSlow
from service.request import RequestContext
from service.timeline import Step
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, path_probs, whole_answer

LONG_S = 20.0


class StubSender:
    """Answers with what NumPy computes, once it may, and notes which models it was asked for."""

    def __init__(self):
        self.asked = []
        self.ends = {}  # by model: an event, a number of seconds, or an error
        self.broken = False  # whether the router returns NaN

    @contextmanager
    def place(self, images):
        yield Placed(images)

    async def run(self, model, placed, controls, tensors, context):
        self.asked.append(model.removeprefix("routed-openvino-"))
        end = self.ends.get(self.asked[-1])
        if isinstance(end, Exception):
            raise end
        if isinstance(end, asyncio.Event):
            await end.wait()
        elif end is not None:
            await asyncio.sleep(end)
        if self.asked[-1] == "router":
            found = np.stack([path_probs(image) for image in placed.images])
            return {"path_probs": found * np.float32("nan") if self.broken else found}
        answers = [whole_answer(image, int(model[-1])) for image in placed.images]
        names = [row.name for row in tensors.outputs]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in names}


@pytest.fixture
def sender():
    return StubSender()


@pytest.fixture
def models(tmp_path, sender):
    return PathModels(sender, read_artifact(build_paths(tmp_path).folder).manifest)


def asking(models, *images, top_k=2, terms=None, allowed_s=LONG_S, step=None):
    inputs = {"images": np.stack(images), "top_k": np.full((len(images), 1), top_k, np.int64)}
    return models.infer(inputs, terms, RequestContext.within(allowed_s, step=step))


def ask(models, *images, **asked):
    return asyncio.run(asking(models, *images, **asked))


def took(models, path, top_k, seconds):
    """Let a route have taken so many seconds."""
    for _ in range(10):
        models.times.learn((path, top_k), seconds)


def runs(models, path, top_k):
    """Return how many times a route has taught its time."""
    return models.times._runs.get((path, top_k), 0)


def test_the_time_of_a_route_is_learned_without_that_of_the_router(models, sender):
    sender.ends = {"router": 0.3, "path0-k2": 0.1}
    terms, routes_s = RouteTerms(), []
    for _ in range(2):
        began = perf_counter()
        _, infer_s = ask(models, RED, terms=terms)
        assert infer_s + terms.router_s <= perf_counter() - began
        assert terms.router_s >= 0.3
        routes_s.append(infer_s)
    assert 0.1 <= models.times.expected_s((0, 2)) <= max(routes_s)
    assert terms.top_k is None


def test_a_hopeless_image_is_refused_after_the_router_and_before_its_route(models, sender):
    took(models, 2, 2, 5.0)
    terms = RouteTerms()
    with pytest.raises(RouteTooSlow, match="path 2, which needs about 5 s at top_k 2"):
        ask(models, BLUE, terms=terms, allowed_s=4.9)
    assert sender.asked == ["router"]
    assert terms.router_s is not None
    ask(models, BLUE, terms=RouteTerms(), allowed_s=LONG_S)
    ask(models, BLUE, allowed_s=4.9)  # without terms, every route runs
    assert sender.asked[1:] == ["router", "path2-k2"] * 2


def test_the_cheaper_sibling_is_asked_if_the_terms_allow_it(models, sender):
    took(models, 2, 2, 5.0)
    took(models, 2, 1, 0.01)
    terms = RouteTerms(cheaper=(1,))
    outputs, _ = ask(models, BLUE, terms=terms, allowed_s=2.0)
    assert (sender.asked, terms.top_k) == (["router", "path2-k1"], 1)
    for name, value in whole_answer(BLUE, 1).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-6, err_msg=name)


def test_a_deadline_that_passed_while_the_router_ran_is_not_called_a_slow_route(models, sender):
    took(models, 2, 2, 5.0)
    sender.ends = {"router": 0.1}
    with pytest.raises(DeadlineExceeded):
        ask(models, BLUE, terms=RouteTerms(), allowed_s=0.05)


def test_images_behind_others_of_their_route_teach_nothing(models, sender):
    async def several():
        end = sender.ends["path0-k2"] = asyncio.Event()
        work = [asyncio.ensure_future(asking(models, image)) for image in (RED, RED, RED, GREEN)]
        while len(sender.asked) < 8:
            await asyncio.sleep(0.001)
        end.set()
        await asyncio.gather(*work)
        await asking(models, RED)

    asyncio.run(several())
    assert (runs(models, 0, 2), runs(models, 1, 2)) == (2, 1)


def test_a_failed_call_teaches_nothing_and_leaves_nothing_in_the_way(models, sender):
    sender.ends = {"path0-k2": BackendUnavailable("its process is dead", lost=True)}
    for _ in range(2):
        with pytest.raises(BackendUnavailable) as caught:
            ask(models, RED)
    assert caught.value.of_path
    assert runs(models, 0, 2) == 0
    sender.ends = {}
    ask(models, RED)
    assert runs(models, 0, 2) == 1


def test_a_cancelled_call_teaches_nothing_and_leaves_nothing_in_the_way(models, sender):
    async def cancelled():
        sender.ends["path0-k2"] = asyncio.Event()
        work = asyncio.ensure_future(asking(models, RED))
        while len(sender.asked) < 2:
            await asyncio.sleep(0.001)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        sender.ends = {}
        await asking(models, RED)

    asyncio.run(cancelled())
    assert runs(models, 0, 2) == 1


def test_several_images_at_once_are_not_the_time_of_one(models):
    outputs, _ = ask(models, RED, BLUE, RED)
    assert outputs["class_ids"][:, 0].tolist() == [0, 2, 0]
    assert (runs(models, 0, 2), runs(models, 2, 2)) == (0, 1)


def test_probabilities_that_are_not_finite_ask_no_route(models, sender):
    sender.broken = True
    with pytest.raises(BackendFailed, match="the router of model 'routed' returned a number that is not fin"):
        ask(models, RED, terms=RouteTerms())
    assert sender.asked == ["router"]


def test_the_router_is_a_step_of_its_own_before_the_route(models):
    step = Step("attempt")
    ask(models, RED, terms=RouteTerms(), step=step)
    assert [each.name for each in step.steps] == ["router", "infer"]
    router, route = step.steps
    assert router.began < router.ended <= route.began < route.ended
