"""Measures what callers with large images do to callers with small ones: `python -m tests.load.mixed`.

    SPARSIGHT_DATA=data .venv/bin/python -m tests.load.mixed

VGA photographs arrive at random moments, at a share of what the service answers at most. Rounds in which they
are alone alternate with rounds beside a few callers that each send one 12-megapixel photograph after another.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from tests.load.callers import start
from tests.load.compared import add_flags, compared
from tests.load.machine import describe_machine
from tests.load.reports import Report, percentile
from tests.load.services import LITSERVE, Service

SMALL, LARGE = "VGA", "12 MP"
CAPACITY_CALLERS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the services, and print a table."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.rounds, args.seconds = 1, 1.0
    with compared(args) as (photographs, services):
        rows = [
            row
            for service in services
            for row in measure(service, photographs[SMALL], photographs[LARGE], args)
        ]
    print(describe_machine(("openvino", "fastapi", "uvicorn"), also=f"LitServe {LITSERVE}"))
    print(f"{args.rounds} rounds of {args.seconds:g} s; VGA at {args.load:.0%} of what a service answers\n")
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(made)
    add = made.add_argument
    add("--load", type=float, default=0.3, help="share of what a service answers (default: %(default)s)")
    add("--large-callers", type=int, default=2, help="that send 12 megapixels (default: %(default)s)")
    add("--rounds", type=int, default=3, help="of each kind, in turns (default: %(default)s)")
    add("--seconds", type=float, default=5.0, help="of each round (default: %(default)s)")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def measure(
    service: Service, small: tuple[str, ...], large: tuple[str, ...], args: argparse.Namespace
) -> Iterator[dict[str, str]]:
    """Yield a row for small photographs alone, and one for small beside large ones."""
    times = {"seconds": args.seconds, "before_s": 0.5, "deadline_s": 1.0}
    most = service.measure(small, callers=CAPACITY_CALLERS, **times).rate
    alone: list[Report] = []
    beside: list[Report] = []
    others: list[Report] = []
    for seed in range(args.rounds):
        load = service.load(small, rate=args.load * most, seed=seed, **times)
        alone.append(start(load).report())
        service.settle()
        running, large_ones = start(load), start(service.load(large, callers=args.large_callers, **times))
        beside.append(running.report())
        others.append(large_ones.report())
        service.settle()
    alone_ms = of_all(alone, 0.99)
    for name, reports, large_reports in (("alone", alone, []), ("beside large images", beside, others)):
        row = {"service": service.name, "VGA": name, "VGA arrivals/s": f"{args.load * most:.1f}"}
        row["12 MP answers/s"] = f"{sum(r.rate for r in large_reports) / len(reports):.1f}"
        row["p50, ms"] = f"{of_all(reports, 0.5):.0f}"
        row["p99, ms"] = f"{of_all(reports, 0.99):.0f}"
        row["p99 over alone"] = f"{of_all(reports, 0.99) / alone_ms:.2f}"
        row["not answered with 200"] = str(sum(not_answered(report) for report in reports))
        print(f"{row}", file=sys.stderr)
        yield row


def of_all(reports: Sequence[Report], share: float) -> float:
    """Return a percentile of the latencies of several rounds."""
    return percentile(sorted(ms for report in reports for ms in report.accepted_ms), share)


def not_answered(report: Report) -> int:
    """Return the number of requests that got another status than 200, or no answer before the end."""
    return sum(report.statuses.values()) + report.waiting - report.statuses.get(200, 0)


if __name__ == "__main__":
    sys.exit(main())
