"""One fault from its begin to its end: who called meanwhile, what they saw, and how soon all was well."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.callers import GRACE_S, OK, Callers, Seen
from tests.faults.gateway import Gateway, Used, running, wait_until

LATE_S = 1.0  # a caller who should notice nothing is disturbed by a slower answer
MEMORY_MB = 64.0
THREADS = 6  # gRPC starts some when it needs them, and ends them after a while
SETTLE_S = 10.0


@dataclass(frozen=True)
class Fault:
    """A fault, and what callers may see of it."""

    name: str
    what: str
    expected: Mapping[str, frozenset[str]]  # by the name of the callers
    run: Callable[["Scene"], None]
    recovers_s: float = 2.0  # longest time until all is well, after the fault has ended
    fails_over_s: float = 2.0  # longest time from the fault to the last disturbed protected caller
    needs: tuple[str, ...] = ()  # programs


@dataclass
class Scene:
    """What happened during one fault."""

    folder: Path
    seen: dict[str, list[Seen]] = field(default_factory=dict)  # by the name of the callers, from the fault on
    complaints: list[str] = field(default_factory=list)
    broken_s: float | None = None
    recovery_s: float | None = None

    def check(self, is_so: bool, otherwise: str) -> None:
        """Note a complaint if something is not so."""
        if not is_so:
            self.complaints.append(otherwise)

    @contextmanager
    def gateway(self, settle: bool = True, **parts: object) -> Iterator[Gateway]:
        """Run a gateway during the block; at its end, check that it has given back what it used."""
        folder = self.folder / "log"
        with running(Gateway(folder, **parts)) as gateway:  # type: ignore[arg-type]
            warm_up(gateway)
            before = gateway.used()
            yield gateway
            if settle:
                self.check_settled(gateway, before)

    @contextmanager
    def calling(self, *callers: Callers) -> Iterator[None]:
        """Let callers send images during the block; what they see from the fault on is kept."""
        for one in callers:
            one.__enter__()
        try:
            time.sleep(0.5)
            yield
            time.sleep(0.3)
        finally:
            for one in callers:
                one.__exit__()
                self.seen.setdefault(one.name, []).extend(one.since(self.broken_s or 0.0))

    def breaks(self) -> None:
        """Note that the fault begins now."""
        self.broken_s = time.monotonic()

    def add(self, name: str, *seen: Seen) -> None:
        """Keep what single requests saw."""
        self.seen.setdefault(name, []).extend(seen)

    def well(self, is_well: Callable[[], bool], limit_s: float = 20.0) -> None:
        """Wait until all is well; note the seconds that it took from now on."""
        began_s = time.monotonic()
        if wait_until(is_well, limit_s):
            self.recovery_s = time.monotonic() - began_s
        else:
            self.complaints.append(f"not well after {limit_s:g} s")

    def check_settled(self, gateway: Gateway, before: Used) -> None:
        """Check that the gateway uses no more than before, and that nothing is in flight."""
        if gateway.has_ended():
            code = gateway.end_code()
            self.complaints.append(f"the gateway has ended with {code}: {gateway.log()[-3500:]}")
            return

        def is_as_before() -> bool:
            now = gateway.used()
            return (
                now.threads <= before.threads + THREADS
                and now.descriptors <= before.descriptors + 2
                and now.memory_mb <= before.memory_mb + MEMORY_MB
                and gateway.metric("sparsight_inflight_requests") <= 1  # the question itself
            )

        if not wait_until(is_as_before, SETTLE_S):
            self.complaints.append(f"before the fault {before}, afterwards {gateway.used()}")

    def judge(self, fault: Fault) -> list[str]:
        """Return what was not as expected."""
        wrong = list(self.complaints)
        for name, expected in fault.expected.items():
            seen = self.seen.get(name, [])
            if not seen:
                wrong.append(f"nobody called as {name!r}")
            if strange := {one.how for one in seen} - expected:
                wrong.append(f"{name}: {', '.join(sorted(strange))}")
            late_s = max((one.took_s - one.deadline_s for one in seen), default=0.0)
            if late_s > GRACE_S:
                wrong.append(f"{name}: a request ended {late_s:.2f} s after its deadline")
        if self.disturbed_s() > fault.fails_over_s:
            wrong.append(f"callers were disturbed for {self.disturbed_s():.2f} s")
        if self.recovery_s is None:
            wrong.append("it was not found out when all was well again")
        elif self.recovery_s > fault.recovers_s:
            wrong.append(f"well only after {self.recovery_s:.2f} s, over {fault.recovers_s:g} s")
        return wrong

    def disturbed_s(self) -> float:
        """Return the seconds from the fault to the last failed or late answer to protected callers."""
        protected = self.seen.get("others", [])
        ends = [one.ended_s for one in protected if one.how != OK or one.took_s > LATE_S]
        return max(ends) - (self.broken_s or 0.0) if ends else 0.0


def warm_up(gateway: Gateway) -> None:
    """Let every thread of the gateway start."""
    with Callers("warm", gateway.port, count=6, pause_s=0.0):
        time.sleep(0.5)
