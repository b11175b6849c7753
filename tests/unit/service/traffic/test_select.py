"""The first healthy backend answers; if it cannot, the next one does, and the answer gives the reason."""

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from service.errors import (
    BackendBusy,
    BackendFailed,
    BackendNotOffered,
    BackendUnavailable,
    DeadlineExceeded,
    UnknownVersion,
)
from service.metrics import Metrics
from service.request import DetectParams, RequestContext
from service.serving.detect import DetectService
from service.settings import Settings
from service.traffic.select import choose
from tests.unit.service.traffic.route_builders import JOB, ScriptedBackend, make_route, make_version

DEAD = BackendUnavailable("triton does not answer: connection refused", lost=True)


@pytest.fixture
def routes_of(artifact):
    def build(triton=(), openvino=(), versions=("1",)):
        return {
            name: make_route(artifact.manifest, name, versions=versions, backend=ScriptedBackend(*script))
            for name, script in (("triton", triton), ("openvino", openvino))
        }

    return build


class Loop(DetectService):
    """The service's own way from route to route; an attempt is the graph alone, and returns its choice."""

    def __init__(self, routes, failovers):
        super().__init__(Settings(), Metrics(CollectorRegistry()), observers=())
        self.routes, self.metrics.failed_over = routes, failovers.append

    def ready_models(self):
        return SimpleNamespace(routes=lambda name: self.routes)

    async def _attempt(self, choice, image, params, context):
        await choice.route.run(choice.version, JOB, context, movable=choice.movable)
        return choice


def ask(routes, params=DetectParams(), failovers=None):  # noqa: B008 - it is frozen
    """Return the choice that answered; `failovers` gets the backends that it left."""
    loop = Loop(routes, [] if failovers is None else failovers)
    return asyncio.run(loop.detect(b"", params, RequestContext.within(5)))


def calls(routes):
    return [route.current.backend.calls for route in routes.values()]


@pytest.mark.parametrize(
    ("requested", "answers", "reason"),
    [
        ("auto", "triton", "preferred"),
        ("triton", "triton", "requested"),
        ("openvino", "openvino", "requested"),
    ],
)
def test_the_preferred_or_the_requested_backend_answers(routes_of, requested, answers, reason):
    choice = ask(routes_of(), DetectParams(backend=requested))
    assert (choice.version.backend_name, choice.reason) == (answers, reason)


def test_a_backend_that_is_not_configured_is_refused_with_what_there_is(routes_of):
    with pytest.raises(BackendNotOffered, match=r"'onnx' is not among.*: auto, triton, openvino"):
        choose(routes_of(), DetectParams(backend="onnx"), {})


def test_the_same_request_goes_on_to_the_next_backend_and_says_why(routes_of):
    routes, failovers = routes_of(triton=[DEAD]), []
    choice = ask(routes, failovers=failovers)
    assert choice.version.backend_name == "openvino"
    assert choice.reason == "triton does not answer: connection refused"
    assert failovers == ["triton"]


def test_an_open_breaker_is_passed_over_without_a_call_and_without_a_failover(routes_of):
    routes, failovers = routes_of(triton=[DEAD]), []
    ask(routes)
    choice = ask(routes, failovers=failovers)
    assert (choice.version.backend_name, failovers, calls(routes)) == ("openvino", [], [1, 2])
    assert choice.reason == "triton does not answer: connection refused"


def test_a_caller_who_names_a_backend_gets_no_other(routes_of):
    routes = routes_of(triton=[DEAD])
    with pytest.raises(BackendUnavailable, match="connection refused"):
        ask(routes, DetectParams(backend="triton"))
    with pytest.raises(BackendUnavailable, match="connection refused"):  # from the breaker
        ask(routes, DetectParams(backend="triton"))
    assert calls(routes) == [1, 0]


def test_if_nobody_is_left_the_last_failure_is_told(routes_of):
    routes = routes_of(triton=[DEAD], openvino=[BackendUnavailable("no luck either")])
    failovers = []
    with pytest.raises(BackendUnavailable, match="no luck either"):
        ask(routes, failovers=failovers)
    assert failovers == ["triton"]


@pytest.mark.parametrize(
    "error",
    [BackendBusy("full"), DeadlineExceeded(0.1), DeadlineExceeded(10, silent=True), BackendFailed("no")],
)
def test_only_what_is_unavailable_is_tried_elsewhere(routes_of, error):
    routes = routes_of(triton=[error])
    with pytest.raises(type(error)):
        ask(routes)
    assert calls(routes) == [1, 0]


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (BackendUnavailable("model dead"), True),
        (DeadlineExceeded(10, silent=True), True),
        (DeadlineExceeded(0.1), False),
        (BackendBusy("full"), False),
        (BackendFailed("no"), False),
        (BackendUnavailable("unloaded", not_run=True), False),
    ],
)
def test_what_opens_a_breaker_when_it_happens_three_times(routes_of, error, opens):
    routes = routes_of(triton=[error] * 6)
    for _ in range(3):
        with pytest.raises(type(error)):
            ask(routes, DetectParams(backend="triton"))
    assert routes["triton"].healthy is not opens


def test_a_version_is_found_where_it_is_served(routes_of, artifact):
    routes = routes_of()
    routes["openvino"] = make_route(artifact.manifest, "openvino", versions=("2",))
    assert ask(routes, DetectParams(version="2")).version.backend_name == "openvino"
    assert ask(routes, DetectParams(version="1")).version.backend_name == "triton"
    with pytest.raises(UnknownVersion, match="no version '2' of model 'tiny'; its versions are 1"):
        ask(routes, DetectParams(backend="triton", version="2"))
    with pytest.raises(UnknownVersion, match="no version '7'"):
        ask(routes, DetectParams(version="7"))


def test_of_several_versions_the_highest_number_is_in_force(routes_of):
    assert ask(routes_of(versions=("9", "10"))).version.manifest.version == "10"


def test_a_version_that_was_just_unloaded_is_asked_for_once_more_at_the_one_now_in_force(routes_of, artifact):
    gone = BackendUnavailable("version 1 is not at ready state", not_run=True)
    routes = routes_of(triton=[gone])
    route, other = routes["triton"], ScriptedBackend()

    async def renew():
        route.set_versions({"2": make_version(artifact.manifest, "triton", "2", other)})

    route.renew = renew
    failovers = []
    choice = ask(routes, failovers=failovers)
    assert (choice.version.backend_name, other.calls, failovers) == ("triton", 1, [])


def test_if_no_version_is_left_the_next_backend_answers(routes_of):
    routes = routes_of(triton=[BackendUnavailable("gone", not_run=True)])

    async def renew():
        routes["triton"].set_versions({})

    routes["triton"].renew = renew
    assert ask(routes).version.backend_name == "openvino"


def test_a_version_that_is_gone_here_and_served_elsewhere_is_answered_there(routes_of, artifact):
    routes = routes_of(triton=[BackendUnavailable("gone", not_run=True)])
    other = make_version(artifact.manifest, "triton", "2", ScriptedBackend())

    async def renew():
        routes["triton"].set_versions({"2": other})

    routes["triton"].renew = renew
    failovers = []
    choice = ask(routes, DetectParams(version="1"), failovers)
    assert (choice.version.backend_name, choice.version.manifest.version) == ("openvino", "1")
    assert failovers == ["triton"]


def test_a_version_that_is_gone_and_served_nowhere_is_unknown(routes_of, artifact):
    routes = routes_of(triton=[BackendUnavailable("gone", not_run=True)])

    async def renew():
        routes["triton"].set_versions(
            {"2": make_version(artifact.manifest, "triton", "2", ScriptedBackend())}
        )

    routes["triton"].renew = renew
    with pytest.raises(UnknownVersion, match=r"no version '1'.*its versions are 2"):
        ask(routes, DetectParams(backend="triton", version="1"))


def test_a_repository_that_is_not_read_in_a_second_is_not_waited_for(routes_of):
    routes = routes_of(triton=[BackendUnavailable("gone", not_run=True)])

    async def never():
        await asyncio.Event().wait()

    routes["triton"].renew = never
    choice = ask(routes)
    assert (choice.version.backend_name, choice.reason) == ("openvino", "gone")
