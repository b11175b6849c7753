"""A prober stops and resumes requests on a route according to the results of its probes."""

import asyncio

import pytest

from service.errors import BackendBusy, BackendUnavailable, DeadlineExceeded
from service.settings import BreakerSettings
from service.traffic.breaker import State
from service.traffic.probe import Prober
from tests.unit.service.traffic.route_builders import FakeClock, ScriptedBackend, make_route

SETTINGS = BreakerSettings(probe_interval_s=0.5, probe_timeout_s=1)
DEAD = BackendUnavailable("INTERNAL: stub process is not healthy")


@pytest.fixture
def clock():
    return FakeClock()


def look(route, clock, *, after_s, check=None):
    async def well(version, timeout_s):
        pass

    clock.now += after_s
    asyncio.run(Prober(route, SETTINGS, check or well).look(route.current))
    return route.breaker.state


def test_while_answers_come_the_model_is_not_bothered(artifact, clock):
    backend = ScriptedBackend()
    route = make_route(artifact.manifest, backend=backend, clock=clock)
    assert look(route, clock, after_s=0.4) is State.CLOSED
    assert backend.calls == 0


def test_a_model_that_answered_nobody_since_the_last_look_must_prove_itself(artifact, clock):
    backend = ScriptedBackend({}, DEAD)
    route = make_route(artifact.manifest, backend=backend, clock=clock)
    assert look(route, clock, after_s=0.5) is State.CLOSED
    assert route.breaker.idle_s() == 0
    assert look(route, clock, after_s=0.5) is State.OPEN
    assert "not healthy" in route.breaker.why


def test_a_server_that_does_not_live_is_left_without_asking_the_model(artifact, clock):
    async def silent(version, timeout_s):
        raise BackendUnavailable("triton did not answer within 1 s")

    backend = ScriptedBackend()
    route = make_route(artifact.manifest, backend=backend, clock=clock)
    assert look(route, clock, after_s=0.5, check=silent) is State.OPEN
    assert backend.calls == 0


@pytest.mark.parametrize(("answer", "state"), [({}, State.CLOSED), (DEAD, State.OPEN)])
def test_an_open_breaker_closes_by_a_real_inference_only(artifact, clock, answer, state):
    route = make_route(artifact.manifest, backend=ScriptedBackend(answer), clock=clock)
    route.breaker.failed(clock.now, "dead", at_once=True)
    assert look(route, clock, after_s=0.5) is state


def test_a_full_queue_is_life(artifact, clock):
    route = make_route(artifact.manifest, backend=ScriptedBackend(BackendBusy("full")), clock=clock)
    assert look(route, clock, after_s=2) is State.CLOSED


def test_a_model_that_is_silent_under_a_live_server_is_slow_three_times_before_it_is_dead(artifact, clock):
    silences = [DeadlineExceeded(1, silent=True)] * 3
    route = make_route(artifact.manifest, backend=ScriptedBackend(*silences), clock=clock)
    states = [look(route, clock, after_s=2) for _ in silences]
    assert states == [State.CLOSED, State.CLOSED, State.OPEN]
    assert "did not run the model within 1 s" in route.breaker.why


def test_a_model_that_is_silent_under_a_silent_server_is_dead(artifact, clock):
    checks = []

    async def lives_once(version, timeout_s):
        checks.append(timeout_s)
        if len(checks) > 1:
            raise BackendUnavailable("triton did not answer within 0.5 s")

    backend = ScriptedBackend(DeadlineExceeded(1, silent=True))
    route = make_route(artifact.manifest, backend=backend, clock=clock)
    assert look(route, clock, after_s=2, check=lives_once) is State.OPEN
    assert checks == [1, 0.5]


def test_a_half_open_breaker_opens_again_at_the_first_silence(artifact, clock):
    backend = ScriptedBackend(DeadlineExceeded(1, silent=True))
    route = make_route(artifact.manifest, backend=backend, clock=clock)
    route.breaker.failed(clock.now, "dead", at_once=True)
    assert look(route, clock, after_s=0.5) is State.OPEN


def test_a_probe_that_met_a_full_queue_proves_nothing(artifact, clock):
    route = make_route(artifact.manifest, backend=ScriptedBackend(BackendBusy("full")), clock=clock)
    route.breaker.failed(clock.now, "dead", at_once=True)
    assert look(route, clock, after_s=2) is State.OPEN
    assert (route.breaker.why, route.breaker.idle_s()) == ("dead", 2)


def test_a_full_queue_does_not_make_failures_forgotten(artifact, clock):
    route = make_route(
        artifact.manifest, backend=ScriptedBackend(BackendBusy("full")), failures=2, clock=clock
    )
    route.breaker.failed(clock.now, "silent")
    look(route, clock, after_s=2)
    route.breaker.failed(clock.now, "silent")
    assert route.breaker.state is State.OPEN


def test_a_version_that_is_unloaded_is_a_matter_for_the_repository(artifact, clock):
    renewed = []

    async def renew():
        renewed.append(True)

    gone = BackendUnavailable("not at ready state", not_run=True)
    route = make_route(artifact.manifest, backend=ScriptedBackend(gone), clock=clock)
    route.renew = renew
    assert look(route, clock, after_s=2) is State.CLOSED
    assert renewed == [True]


@pytest.mark.parametrize("open_before", [False, True])
@pytest.mark.parametrize(
    "lost",
    [
        BackendUnavailable("path1-k2: the process is not healthy", of_path=True),
        DeadlineExceeded(1, silent=True, of_path=True),
    ],
)
def test_a_lost_graph_of_one_path_keeps_no_images_of_other_paths_away(artifact, clock, lost, open_before):
    route = make_route(artifact.manifest, backend=ScriptedBackend(*[lost] * 4), clock=clock)
    if open_before:
        route.breaker.failed(clock.now, "dead", at_once=True)
    for _ in range(4):  # more than the failures that open a breaker
        assert look(route, clock, after_s=2) is State.CLOSED


def test_a_look_at_the_repository_that_does_not_end_does_not_end_the_probing(artifact, clock):
    async def never():
        await asyncio.Event().wait()

    gone = BackendUnavailable("not at ready state", not_run=True)
    route = make_route(artifact.manifest, backend=ScriptedBackend(gone), clock=clock)
    route.renew = never
    prober = Prober(
        route, BreakerSettings(probe_interval_s=0.1, probe_timeout_s=0.1), lambda *_: asyncio.sleep(0)
    )
    clock.now += 2
    asyncio.run(asyncio.wait_for(prober.look(route.current), 2))
