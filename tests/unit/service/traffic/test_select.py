"""The preferred backend that is well answers; what it cannot answer goes to the next, with the reason."""

import asyncio

import pytest

from service.backends.protocol import Call
from service.errors import (
    BackendBusy,
    BackendFailed,
    BackendNotOffered,
    BackendUnavailable,
    DeadlineExceeded,
    UnknownVersion,
)
from service.traffic.select import Wanted, answer_by_first, choose
from tests.unit.service.traffic.lane_builders import BLANK, ScriptedBackend, make_lane, make_offer

DEAD = BackendUnavailable("triton is not answering: connection refused", lost=True)


@pytest.fixture
def lanes_of(artifact):
    def build(triton=(), openvino=(), versions=("1",)):
        return {
            name: make_lane(artifact.manifest, name, versions=versions, backend=ScriptedBackend(*script))
            for name, script in (("triton", triton), ("openvino", openvino))
        }

    return build


def ask(lanes, wanted=Wanted(), failovers=None):  # noqa: B008 - it is frozen
    left = [] if failovers is None else failovers
    call = Call.within(5)

    async def attempt(choice):
        await choice.lane.infer(choice.offer, BLANK, call, movable=choice.movable)
        return choice

    return asyncio.run(answer_by_first(lanes, wanted, attempt, left.append, call))


def calls(lanes):
    return [lane.current.backend.calls for lane in lanes.values()]


@pytest.mark.parametrize(
    ("requested", "answers", "reason"),
    [
        ("auto", "triton", "preferred"),
        ("triton", "triton", "requested"),
        ("openvino", "openvino", "requested"),
    ],
)
def test_the_preferred_or_the_requested_backend_answers(lanes_of, requested, answers, reason):
    choice = ask(lanes_of(), Wanted(requested))
    assert (choice.offer.backend_name, choice.reason) == (answers, reason)


def test_a_backend_that_is_not_configured_is_refused_with_what_there_is(lanes_of):
    with pytest.raises(BackendNotOffered, match=r"'onnx' is not among.*: auto, triton, openvino"):
        choose(lanes_of(), Wanted("onnx"), {})


def test_the_same_request_goes_on_to_the_next_backend_and_says_why(lanes_of):
    lanes, failovers = lanes_of(triton=[DEAD]), []
    choice = ask(lanes, failovers=failovers)
    assert choice.offer.backend_name == "openvino"
    assert choice.reason == "triton is not answering: connection refused"
    assert failovers == ["triton"]


def test_an_open_breaker_is_passed_over_without_a_call_and_without_a_failover(lanes_of):
    lanes, failovers = lanes_of(triton=[DEAD]), []
    ask(lanes)
    choice = ask(lanes, failovers=failovers)
    assert (choice.offer.backend_name, failovers, calls(lanes)) == ("openvino", [], [1, 2])
    assert choice.reason == "triton is not answering: connection refused"


def test_a_caller_who_names_a_backend_gets_no_other(lanes_of):
    lanes = lanes_of(triton=[DEAD])
    with pytest.raises(BackendUnavailable, match="connection refused"):
        ask(lanes, Wanted("triton"))
    with pytest.raises(BackendUnavailable, match="connection refused"):  # from the breaker
        ask(lanes, Wanted("triton"))
    assert calls(lanes) == [1, 0]


def test_if_nobody_is_left_the_last_failure_is_told(lanes_of):
    lanes = lanes_of(triton=[DEAD], openvino=[BackendUnavailable("no luck either")])
    failovers = []
    with pytest.raises(BackendUnavailable, match="no luck either"):
        ask(lanes, failovers=failovers)
    assert failovers == ["triton"]


@pytest.mark.parametrize(
    "error",
    [BackendBusy("full"), DeadlineExceeded(0.1), DeadlineExceeded(10, silent=True), BackendFailed("no")],
)
def test_only_what_is_unavailable_is_tried_elsewhere(lanes_of, error):
    lanes = lanes_of(triton=[error])
    with pytest.raises(type(error)):
        ask(lanes)
    assert calls(lanes) == [1, 0]


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
def test_what_opens_a_breaker_when_it_happens_three_times(lanes_of, error, opens):
    lanes = lanes_of(triton=[error] * 6)
    for _ in range(3):
        with pytest.raises(type(error)):
            ask(lanes, Wanted("triton"))
    assert lanes["triton"].healthy is not opens


def test_a_version_is_found_where_it_is_served(lanes_of, artifact):
    lanes = lanes_of()
    lanes["openvino"] = make_lane(artifact.manifest, "openvino", versions=("2",))
    assert ask(lanes, Wanted(version="2")).offer.backend_name == "openvino"
    assert ask(lanes, Wanted(version="1")).offer.backend_name == "triton"
    with pytest.raises(UnknownVersion, match="no version '2' of model 'tiny'; there is 1"):
        ask(lanes, Wanted("triton", "2"))
    with pytest.raises(UnknownVersion, match="no version '7'"):
        ask(lanes, Wanted(version="7"))


def test_of_several_versions_the_highest_number_is_in_force(lanes_of):
    assert ask(lanes_of(versions=("9", "10"))).offer.manifest.version == "10"


def test_a_version_that_was_just_unloaded_is_asked_for_once_more_at_the_one_now_in_force(lanes_of, artifact):
    gone = BackendUnavailable("version 1 is not at ready state", not_run=True)
    lanes = lanes_of(triton=[gone])
    lane, other = lanes["triton"], ScriptedBackend()

    async def renew():
        lane.set_offers({"2": make_offer(artifact.manifest, "triton", "2", other)})

    lane.renew = renew
    failovers = []
    choice = ask(lanes, failovers=failovers)
    assert (choice.offer.backend_name, other.calls, failovers) == ("triton", 1, [])


def test_if_no_version_is_left_the_next_backend_answers(lanes_of):
    lanes = lanes_of(triton=[BackendUnavailable("gone", not_run=True)])

    async def renew():
        lanes["triton"].set_offers({})

    lanes["triton"].renew = renew
    assert ask(lanes).offer.backend_name == "openvino"


def test_a_version_that_is_gone_here_and_served_elsewhere_is_answered_there(lanes_of, artifact):
    lanes = lanes_of(triton=[BackendUnavailable("gone", not_run=True)])
    other = make_offer(artifact.manifest, "triton", "2", ScriptedBackend())

    async def renew():
        lanes["triton"].set_offers({"2": other})

    lanes["triton"].renew = renew
    failovers = []
    choice = ask(lanes, Wanted(version="1"), failovers)
    assert (choice.offer.backend_name, choice.offer.manifest.version) == ("openvino", "1")
    assert failovers == ["triton"]


def test_a_version_that_is_gone_and_served_nowhere_is_unknown(lanes_of, artifact):
    lanes = lanes_of(triton=[BackendUnavailable("gone", not_run=True)])

    async def renew():
        lanes["triton"].set_offers({"2": make_offer(artifact.manifest, "triton", "2", ScriptedBackend())})

    lanes["triton"].renew = renew
    with pytest.raises(UnknownVersion, match=r"no version '1'.*there is 2"):
        ask(lanes, Wanted("triton", "1"))


def test_a_repository_that_is_not_read_in_a_second_is_not_waited_for(lanes_of):
    lanes = lanes_of(triton=[BackendUnavailable("gone", not_run=True)])

    async def never():
        await asyncio.Event().wait()

    lanes["triton"].renew = never
    choice = ask(lanes)
    assert (choice.offer.backend_name, choice.reason) == ("openvino", "gone")
