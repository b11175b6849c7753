"""The loads that callers can make, and what they measure."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

BROKEN = 0  # stands for the status if the connection broke before the whole answer
REFUSALS = (429, 503)
OPEN, CLOSED, POLITE = "arrivals", "callers", "polite callers"  # kinds of load


@dataclass(frozen=True)
class Load:
    """What the callers do: a closed loop if there are `callers`, otherwise an open loop at a `rate`."""

    port: int
    images: tuple[str, ...]  # files; sent in turns
    callers: int = 0
    rate: float = 0.0  # images/s
    polite: bool = False  # closed loop: a refused caller comes back after Retry-After, not at once
    seconds: float = 5.0  # of the window
    before_s: float = 1.0  # the load runs before the window
    deadline_s: float = 1.0  # latest good 200; the load also runs this long after the window
    path: str = "/detect"
    form_field: str = ""  # if given, the image is this field of a multipart form; otherwise it is the body
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """What the callers measured on the requests that started inside the window.

    A request that was neither answered nor refused before the end counts as accepted, with the time that it
    waited, even if it started before the window. Otherwise a service that lets its callers starve would
    look fast.
    """

    seconds: float
    deadline_s: float
    statuses: dict[int, int]  # number of answers by status; BROKEN for broken connections
    good: int  # 200s within the deadline
    answered: int  # 200s that arrived inside the window, whenever they were sent
    accepted_ms: tuple[float, ...]  # sorted
    refused_ms: tuple[float, ...]  # sorted
    waiting: int  # started before or in the window, and not answered before the end of the load
    told_when: int  # refusals with Retry-After
    started: int  # requests of the window
    sent: int  # over the whole run, also outside the window
    connections: int  # opened over the whole run
    late_ms: float  # 99th percentile of the time from the planned arrival to the moment of sending
    cpu_share: float  # of one core, that the callers used

    @property
    def goodput(self) -> float:
        """Return the 200s within the deadline per second."""
        return self.good / self.seconds

    @property
    def rate(self) -> float:
        """Return the 200s per second that arrived inside the window, late ones too."""
        return self.answered / self.seconds

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the report that a process of callers printed with --json."""
        values = json.loads(text)
        values["statuses"] = {int(status): count for status, count in values["statuses"].items()}
        return cls(**values | {name: tuple(values[name]) for name in ("accepted_ms", "refused_ms")})

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count} × {status or 'broken'}" for status, count in sorted(self.statuses.items())
        )
        return (
            f"goodput {self.goodput:.1f}/s (200 within {self.deadline_s:g} s); accepted p50 "
            f"{percentile(self.accepted_ms, 0.5):.0f} ms, p99 {percentile(self.accepted_ms, 0.99):.0f} ms; "
            f"refused p99 {percentile(self.refused_ms, 0.99):.1f} ms; {counts or 'no answers'}; "
            f"{self.waiting} unanswered; {self.connections} connections; callers used {self.cpu_share:.0%} "
            f"of a core and sent up to {self.late_ms:.1f} ms late"
        )


@dataclass(frozen=True)
class Point:
    """One service under one load."""

    service: str
    kind: str  # OPEN, CLOSED or POLITE
    amount: float  # multiple of the capacity, or number of callers
    report: Report
    experts: float  # mean number of experts that a mixture layer ran for an image; NaN if unknown


@dataclass(slots=True)
class Request:
    """One request: its planned moment by the clock of the event loop, and its answer."""

    planned_s: float
    sent_s: float = math.nan
    status: int | None = None
    latency_s: float = math.nan
    told_when: bool = False


def summarise(
    requests: Sequence[Request],
    load: Load,
    window_s: float,
    ended_s: float,
    connections: int,
    cpu_share: float,
) -> Report:
    """Return the report on the requests that started in the window.

    Args:
        window_s: start of the window, and `ended_s` the end of the load, by the clock of the requests.
        connections: opened over the whole run.
        cpu_share: of one core, that the callers used.
    """
    counted = [request for request in requests if window_s <= request.planned_s < window_s + load.seconds]
    latencies_s = [request.latency_s for request in counted if request.status == 200]
    starved = [request for request in requests if request.status is None]
    waited_s = [
        ended_s - request.planned_s for request in starved if request.planned_s < window_s + load.seconds
    ]
    refusals = [request for request in counted if request.status in REFUSALS]
    arrived_s = [request.planned_s + request.latency_s for request in requests if request.status == 200]
    sent = sorted(request.sent_s - request.planned_s for request in counted if not math.isnan(request.sent_s))
    return Report(
        seconds=load.seconds,
        deadline_s=load.deadline_s,
        statuses=dict(Counter(request.status for request in counted if request.status is not None)),
        good=sum(latency_s <= load.deadline_s for latency_s in latencies_s),
        answered=sum(window_s <= moment_s < window_s + load.seconds for moment_s in arrived_s),
        accepted_ms=tuple(sorted(round(latency_s * 1e3, 3) for latency_s in latencies_s + waited_s)),
        refused_ms=tuple(sorted(round(request.latency_s * 1e3, 3) for request in refusals)),
        waiting=len(waited_s),
        told_when=sum(request.told_when for request in refusals),
        started=len(counted),
        sent=len(requests),
        connections=connections,
        late_ms=percentile(sent, 0.99) * 1e3 if sent else 0.0,
        cpu_share=cpu_share,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the lowest value with at least this share of the sorted values up to it; NaN without values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
