"""Which backend answers a request: the preferred one that is well, and the next if it fails."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from service.backends.protocol import Call
from service.errors import BackendNotOffered, BackendUnavailable, UnknownVersion
from service.traffic.lanes import Lane, Offer

T = TypeVar("T")

_RENEW_S = 1.0  # a request waits this long for the versions of a backend to be read again


@dataclass(frozen=True)
class Wanted:
    """What a caller asks for."""

    backend: str = "auto"
    version: str | None = None


@dataclass(frozen=True)
class Choice:
    """Where one attempt goes."""

    lane: Lane
    offer: Offer
    reason: str  # "preferred", "requested", or the sentence that says why a preferred backend is not used
    movable: bool  # another backend could do it as well


def choose(lanes: Mapping[str, Lane], wanted: Wanted, failed: Mapping[str, BackendUnavailable]) -> Choice:
    """Return the best place to try now.

    Args:
        lanes: of one model by backend, preferred first.
        wanted: by the caller; `auto` may be answered by any backend.
        failed: backends that have just failed this request, and how.

    Raises:
        BackendNotOffered: the name is known to the API, and not to this service.
        UnknownVersion: no backend that may answer serves this version.
        BackendUnavailable: nobody is left; says what is wrong with each.
    """
    if wanted.backend not in ("auto", *lanes):
        raise BackendNotOffered(wanted.backend, tuple(lanes))
    candidates = [lane for name, lane in lanes.items() if wanted.backend in ("auto", name)]
    passed_over: list[str] = []
    strange: list[UnknownVersion] = []
    for i, lane in enumerate(candidates):
        try:
            offer = lane.get(wanted.version)  # first: what it served when it failed may be gone for good
            if lane.backend_name in failed:
                raise failed[lane.backend_name]
            lane.check_open()
        except UnknownVersion as error:
            strange.append(error)
        except BackendUnavailable as error:
            passed_over.append(str(error))
        else:
            usual = "preferred" if wanted.backend == "auto" else "requested"
            reason = passed_over[0] if passed_over else usual
            return Choice(lane, offer, reason, any(_serves(other, wanted) for other in candidates[i + 1 :]))
    if strange and not passed_over:
        raise strange[0]
    raise BackendUnavailable("; ".join(passed_over))


async def answer_by_first(
    lanes: Mapping[str, Lane],
    wanted: Wanted,
    attempt: Callable[[Choice], Awaitable[T]],
    on_failover: Callable[[str], None],
    call: Call,
) -> T:
    """Try one backend after the other until one answers.

    Only what is BackendUnavailable goes on to the next: a backend that is busy is well, and a deadline, or
    an input that was refused, would be no better elsewhere.

    Args:
        lanes: of one model by backend, preferred first.
        wanted: by the caller.
        attempt: runs the graph.
        on_failover: told each backend whose request another one takes over.
        call: how long there is.
    """
    failed: dict[str, BackendUnavailable] = {}
    choice = choose(lanes, wanted, failed)
    while True:
        try:
            return await _attempt(choice, wanted, attempt, call)
        except BackendUnavailable as error:
            failed[choice.lane.backend_name] = error
            try:
                following = choose(lanes, wanted, failed)
            except BackendUnavailable:
                raise error from None
            on_failover(choice.lane.backend_name)
            choice = following


async def _attempt(
    choice: Choice, wanted: Wanted, attempt: Callable[[Choice], Awaitable[T]], call: Call
) -> T:
    """Try, and once more if the backend says that it just dropped the version and did nothing."""
    try:
        return await attempt(choice)
    except BackendUnavailable as error:
        if not error.not_run or not await choice.lane.renew_within(min(_RENEW_S, call.left_s())):
            raise
        try:
            offer = choice.lane.get(wanted.version)
        except UnknownVersion:
            raise error from None  # no longer here; another backend may serve it
    return await attempt(replace(choice, offer=offer))


def _serves(lane: Lane, wanted: Wanted) -> bool:
    return lane.healthy and (wanted.version is None or wanted.version in lane.offers)
