"""Measures what services do under more load than they can carry: `python -m tests.load.overload`.

    SPARSIGHT_DATA=data .venv/bin/python -m tests.load.overload --plot overload.png

It compares the service of this checkout with an endpoint that an engineer writes in an afternoon (naive.py),
and with LitServe (lit.py). First it measures how many images per second each service answers to a few
callers, which is its capacity. Then come two kinds of load: images that arrive at random moments at multiples
of the capacity, and more and more callers that each send their next image after the answer. Refused callers
come back at once; if refusals say when to come back, the load is repeated with callers that wait so long. The
goodput counts only answers with status 200 before the deadline.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from tests.load.compared import add_flags, compared
from tests.load.machine import describe_machine
from tests.load.photographs import SIZES
from tests.load.reports import BROKEN, CLOSED, OPEN, POLITE, REFUSALS, Point, percentile
from tests.load.services import LITSERVE, Service

FACTORS = (0.8, 1.2, 2.0, 5.0, 10.0)
CALLERS = (4, 16, 64, 128, 256, 512)
CAPACITY_CALLERS, CAPACITY_TRIES = 8, 3
LONGEST_BEFORE_S = 6.0
HEADS = (
    "service",
    "load",
    "sent/s",
    "goodput/s",
    "of the best",
    "accepted p50, ms",
    "p99, ms",
    "p99 over that at the lowest rate",
    "refused p99, ms",
    "200",
    "refused",
    "other",
    "unanswered",
    "experts a layer",
    "callers' share of a core",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the services under all loads, print a table, and draw the plot."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.seconds, args.lead, args.deadline = 1.0, 0.3, 0.5
        args.factors, args.callers = [0.8, 2.0], [4, 64]
    with compared(args) as (photographs, services):
        points = measure(args, photographs[args.size], services)
    print(describe_machine(("openvino", "fastapi", "uvicorn"), also=f"LitServe {LITSERVE}"))
    print(f"{args.size} photographs, windows of {args.seconds:g} s, deadline {args.deadline:g} s\n")
    print(tabulate(list(rows(points)), HEADS, tablefmt="github", disable_numparse=True))
    if args.plot:
        from tests.load.overload_plot import draw  # matplotlib is only needed for this

        args.plot.write_bytes(draw(points))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(made)
    add = made.add_argument
    add("--size", choices=SIZES, default="VGA", help="of the photographs (default: %(default)s)")
    add("--seconds", type=float, default=3.0, help="of each window (default: %(default)s)")
    add(
        "--lead",
        type=float,
        default=1.0,
        help="least seconds of load before a window (default: %(default)s)",
    )
    add("--deadline", type=float, default=1.0, help="seconds for a good answer (default: %(default)s)")
    add("--factors", type=float, nargs="*", default=FACTORS, help="multiples of the capacity")
    add("--callers", type=int, nargs="*", default=CALLERS, help="numbers of callers")
    add("--plot", type=Path, help="PNG file for a plot of the goodput against the callers")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def measure(args: argparse.Namespace, images: tuple[str, ...], services: Sequence[Service]) -> list[Point]:
    """Return all points; services take turns under each load, so that a slow moment does not hit one only."""
    times = {"seconds": args.seconds, "before_s": args.lead, "deadline_s": args.deadline}

    def take(service: Service, kind: str, amount: float, **load: float) -> Point:
        before = service.experts_and_images()
        report = service.measure(images, **times, **load)
        experts = mean_experts(before, service.experts_and_images())
        print(f"{service.name}, {kind} {amount:g}: {report}", file=sys.stderr)
        return Point(service.name, kind, amount, report, experts)

    tries: dict[str, list[Point]] = {service.name: [] for service in services}
    for _ in range(1 if args.smallest else CAPACITY_TRIES):
        for service in services:
            taken = take(service, CLOSED, CAPACITY_CALLERS, callers=CAPACITY_CALLERS)
            tries[service.name].append(taken)
    # A slow moment of the machine must not make the capacity, and with it every multiple, too small.
    best = {name: max(taken, key=lambda point: point.report.rate) for name, taken in tries.items()}
    points = list(best.values())
    for factor in args.factors:
        # Without a limit, a queue grows by factor - 1 s a second; the window begins when it is too long.
        grown_s = min(LONGEST_BEFORE_S, args.deadline / (factor - 1)) if factor > 1 else 0.0
        times["before_s"] = args.lead if args.smallest else max(args.lead, grown_s)
        for service in services:
            rate = factor * best[service.name].report.rate
            points.append(take(service, OPEN, factor, rate=rate))
    times["before_s"] = max(args.lead, args.deadline)
    for callers in args.callers:
        for service in services:
            points.append(take(service, CLOSED, callers, callers=callers))
            if points[-1].report.told_when:
                points.append(take(service, POLITE, callers, callers=callers, polite=True))
    return points


def mean_experts(before: tuple[float, float] | None, after: tuple[float, float] | None) -> float:
    """Return the mean number of experts that a mixture layer ran for an image between two readings."""
    if before is None or after is None or after[1] <= before[1]:
        return math.nan
    return (after[0] - before[0]) / (after[1] - before[1])


def rows(points: Sequence[Point]) -> Iterator[list[str]]:
    """Yield the rows of the table, service by service."""
    for name in dict.fromkeys(point.service for point in points):
        own = [point for point in points if point.service == name]
        best = max(point.report.goodput for point in own)
        calm = min(
            (point for point in own if point.kind == OPEN), key=lambda point: point.amount, default=None
        )
        calm_ms = percentile(calm.report.accepted_ms, 0.99) if calm else math.nan
        for point in sorted(own, key=lambda point: ((OPEN, CLOSED, POLITE).index(point.kind), point.amount)):
            yield row(point, best, calm_ms)


def row(point: Point, best: float, calm_ms: float) -> list[str]:
    """Return one row of the table."""
    report, statuses = point.report, point.report.statuses
    refused = sum(statuses.get(status, 0) for status in REFUSALS)
    known = {200, *REFUSALS}
    other = sum(count for status, count in statuses.items() if status not in known)
    accepted_p99_ms = percentile(report.accepted_ms, 0.99)
    broken = f" ({statuses[BROKEN]} broken)" if BROKEN in statuses else ""
    return [
        point.service,
        f"{point.amount:g} × capacity" if point.kind == OPEN else f"{point.amount:g} {point.kind}",
        f"{report.started / report.seconds:.1f}",
        f"{report.goodput:.1f}",
        number(report.goodput / best if best else math.nan, ".0%"),
        number(percentile(report.accepted_ms, 0.5), ".0f"),
        number(accepted_p99_ms, ".0f"),
        number(accepted_p99_ms / calm_ms, ".2f"),
        number(percentile(report.refused_ms, 0.99), ".1f"),
        str(statuses.get(200, 0)),
        str(refused),
        f"{other}{broken}",
        str(report.waiting),
        number(point.experts, ".2f"),
        f"{report.cpu_share:.0%}",
    ]


def number(value: float, form: str) -> str:
    """Return a number as text, and a dash for NaN."""
    return "–" if math.isnan(value) else format(value, form)


if __name__ == "__main__":
    sys.exit(main())
