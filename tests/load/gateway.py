"""Measures how fast the service is beside other ways to serve the same graph: `python -m tests.load.gateway`.

    SPARSIGHT_DATA=data .venv/bin/python -m tests.load.gateway --before HEAD~20

On the same cores, in turns, it measures the engine with nothing around it, and with a decoder in front of it
(raw.py), the service of this checkout, the service of an older commit, an endpoint that an engineer writes in
an afternoon (naive.py), and LitServe (lit.py). It prints three tables: images per second for each size of
photograph, latencies at shares of what a service answers at most, and memory. A ratio is the median of the
ratios inside the rounds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tabulate import tabulate

from tests.load.callers import start
from tests.load.compared import add_flags, compared
from tests.load.machine import describe_machine
from tests.load.photographs import SIZES
from tests.load.raw import RawEngine
from tests.load.reports import percentile
from tests.load.services import LITSERVE, NAIVE, Service

RAW, DECODING = "engine alone", "engine and decoder"
IN_FLIGHT = 64
BUSY_WITH = ("VGA", "12 MP")  # photographs for the memory under load

Photographs = dict[str, tuple[str, ...]]
Rates = dict[tuple[str, str], list[float]]  # images/s of each round, by size of photograph and service


@dataclass(frozen=True)
class Latencies:
    """The latencies of a service and of the engine alone, at the same rate."""

    rate: float
    service_ms: list[float]
    raw_ms: list[float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all services, and print the tables."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.rounds, args.seconds, args.latency_seconds = 2, 0.5, 1.0
    args.set = ["SPARSIGHT_MAX_QUEUE_S=600", *args.set]  # so many callers wait here instead of being refused
    with compared(args) as (photographs, services):
        memory = measure_memory(services, photographs, 1.0 if args.smallest else 3.0)
        raw = RawEngine(args.artifact, photographs["VGA"], args.seconds)
        try:
            rates = measure_rates(args, photographs, services, raw)
            latencies = measure_latencies(args, photographs, services, raw, rates)
        finally:
            raw.close()
    print(describe_machine(("openvino", "fastapi", "uvicorn"), also=f"LitServe {LITSERVE}"))
    print(f"{args.rounds} rounds of {args.seconds:g} s; the engine's best settings: {raw.settings}\n")
    print_table(f"images/s, {args.callers} callers", rate_rows(rates, args.sizes, services))
    print_table("latency", latency_rows(latencies))
    print_table("memory", memory_rows(memory))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(made)
    add = made.add_argument
    add("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of the photographs (default: all)")
    add("--callers", type=int, default=8, help="requests at the same time (default: %(default)s)")
    add("--rounds", type=int, default=4, help="of each, in turns (default: %(default)s)")
    add("--seconds", type=float, default=2.0, help="of each round (default: %(default)s)")
    add(
        "--latency-sizes",
        nargs="*",
        choices=SIZES,
        default=["VGA"],
        help="sizes for the latencies: %(default)s",
    )
    add(
        "--latency-loads",
        nargs="*",
        type=float,
        default=[0.1, 0.5],
        help="shares of what a service answers (default: 0.1 0.5)",
    )
    add("--latency-seconds", type=float, default=6.0, help="of each of two rounds (default: %(default)s)")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def measure_memory(
    services: Sequence[Service], photographs: Photographs, seconds: float
) -> dict[str, dict[str, float]]:
    """Return the megabytes of each service after its start, and at most with many requests in flight."""
    found: dict[str, dict[str, float]] = {}
    for service in services:
        found[service.name] = {"at rest": service.memory_mb()}
        for size in BUSY_WITH:
            load = service.load(
                photographs[size], callers=IN_FLIGHT, seconds=seconds, before_s=0.0, deadline_s=0.0
            )
            running, end_s, most = start(load), time.monotonic() + seconds, 0.0
            while time.monotonic() < end_s:
                most = max(most, service.memory_mb())
                time.sleep(0.1)
            running.report()
            service.settle()
            found[service.name][f"{IN_FLIGHT} × {size}"] = most
    return found


def measure_rates(
    args: argparse.Namespace, photographs: Photographs, services: Sequence[Service], raw: RawEngine
) -> Rates:
    """Return the images per second of every round; services take turns, each round in another order."""
    rates: Rates = {}
    for number in range(args.rounds):
        for size in args.sizes:
            everyone: list[Service | str] = [RAW, DECODING, *services]
            first = number % len(everyone)
            for service in everyone[first:] + everyone[:first]:
                if service == RAW:
                    name, rate = RAW, raw.images_s(args.seconds)
                elif isinstance(service, str):
                    name, rate = service, raw.decoded_images_s(args.seconds, photographs[size])
                else:
                    times = {"seconds": args.seconds, "before_s": 0.5, "deadline_s": 0.0}
                    report = service.measure(photographs[size], callers=args.callers, **times)
                    name, rate = service.name, report.rate
                    if any(status != 200 for status in report.statuses):
                        print(f"{name} did not answer all: {report.statuses}", file=sys.stderr)
                rates.setdefault((size, name), []).append(rate)
                print(f"round {number + 1}, {size}, {name}: {rate:.1f} images/s", file=sys.stderr)
    return rates


def measure_latencies(
    args: argparse.Namespace,
    photographs: Photographs,
    services: Sequence[Service],
    raw: RawEngine,
    rates: Rates,
) -> dict[tuple[str, float, str], Latencies]:
    """Return the latencies at shares of a service's own images per second; the engine gets the same rates.

    The keys are the size of the photographs, the share and the name of the service.
    """
    found: dict[tuple[str, float, str], Latencies] = {}
    sizes = [size for size in args.latency_sizes if size in args.sizes]
    for seed in range(2):
        for size, load in product(sizes, args.latency_loads):
            for service in services:
                # On a very busy machine, a short window may have had no answer.
                rate = max(0.5, statistics.median(rates[size, service.name]) * load)
                pair = found.setdefault((size, load, service.name), Latencies(rate, [], []))
                times = {"seconds": args.latency_seconds, "before_s": 0.5, "deadline_s": 1.0}
                report = service.measure(photographs[size], rate=rate, seed=seed, **times)
                pair.service_ms.extend(report.accepted_ms)
                pair.raw_ms.extend(raw.latencies_ms(args.latency_seconds, rate, seed))
    return found


def rate_rows(rates: Rates, sizes: Sequence[str], services: Sequence[Service]) -> Iterator[dict[str, str]]:
    """Yield the rows of the table of throughput."""
    names = [service.name for service in services]
    for size in sizes:
        for name in (RAW, DECODING, *names):
            own = rates[size, name]
            row = {"photographs": size, "service": name, "images/s": f"{statistics.median(own):.1f}"}
            row["lowest to highest"] = f"{min(own):.1f} to {max(own):.1f}"
            for other, heading in ((RAW, "of the engine alone"), (NAIVE, "over naive")):
                row[heading] = ratio(own, rates[size, other]) if (size, other) in rates else "–"
            yield row


def ratio(ones: Sequence[float], others: Sequence[float]) -> str:
    """Return the median of the ratios of the rounds as text, with the lowest and the highest."""
    found = [one / other for one, other in zip(ones, others, strict=True) if other]
    if not found:
        return "–"
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def latency_rows(found: dict[tuple[str, float, str], Latencies]) -> Iterator[dict[str, str]]:
    """Yield the rows of the table of latencies."""
    for (size, load, name), pair in found.items():
        row = {"photographs": size, "load": f"{load:.0%}", "service": name, "arrivals/s": f"{pair.rate:.1f}"}
        ordered_ms, raw_ms = sorted(pair.service_ms), sorted(pair.raw_ms)
        for share in (0.5, 0.99):
            own, bare = percentile(ordered_ms, share), percentile(raw_ms, share)
            row[f"p{share * 100:.0f}, ms"] = f"{own:.1f}"
            row[f"engine alone, p{share * 100:.0f}"] = f"{bare:.1f}"
            row[f"added, p{share * 100:.0f}"] = f"{own - bare:.1f}"
        yield row


def memory_rows(memory: dict[str, dict[str, float]]) -> Iterator[dict[str, str]]:
    """Yield the rows of the table of memory."""
    for name, sizes in memory.items():
        yield {"service": name} | {f"{size}, MB": f"{amount:.0f}" for size, amount in sizes.items()}


def print_table(title: str, rows: Iterator[dict[str, str]]) -> None:
    """Print a Markdown table and its title."""
    print(f"{title}:\n")
    print(tabulate(list(rows), headers="keys", tablefmt="github", disable_numparse=True), end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
