"""Measures what fewer experts under load are worth: `python -m tests.load.brownout --plot brownout.png`.

Two services of this build run a model, one with the settings for brownout. Images arrive at random
moments at multiples of the capacity with the default experts. The services take turns, and every load is
repeated. Goodput counts answers with status 200 before the deadline.
"""

import argparse
import io
import math
import re
import statistics
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from tests.load.compared import add_flags, compared
from tests.load.machine import describe_machine
from tests.load.overload import mean_experts, number
from tests.load.reports import Report, percentile
from tests.load.services import Service, this_build

FACTORS = (0.8, 1.0, 1.2, 1.4, 1.6, 2.0)
BOUNDS = ("SPARSIGHT_BROWNOUT__MIN_TOP_K=1", "SPARSIGHT_BROWNOUT__MAX_WEIGHT_THRESHOLD=0.4")
WAITS = re.compile(r"sparsight_queue_wait_seconds_sum\{[^}]*\} (\S+)")
STAGES = re.compile(r"sparsight_stage_duration_seconds_sum\{[^}]*\} (\S+)")
HEADS = (
    "load",
    "service",
    "goodput/s",
    "to refusals alone",
    "p50, ms",
    "p99, ms",
    "refused",
    "experts a layer",
    "wait, in turns",
)


@dataclass(frozen=True)
class Round:
    """One service under one load."""

    report: Report
    experts: float  # mean number that a mixture layer ran for an image
    wait_turns: float  # mean wait of an image, in durations of a turn; brownout holds it at 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both services under all loads, print a table, and draw the plot."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.seconds, args.lead, args.rounds, args.factors = 1.0, 0.3, 1, [0.8, 1.6]
    args.services, args.before = ["this"], None
    with compared(args) as (photographs, (plain,)):
        images = photographs["VGA"]
        bounds = dict(setting.split("=", 1) for setting in args.bounds)
        lowering = this_build(
            images[0], {**dict(one.split("=", 1) for one in args.set), **bounds}, args.artifact
        )
        lowering.name = "fewer experts"
        plain.name = "refusals alone"
        lowering.start()
        try:
            found = measure(args, images, (plain, lowering))
        finally:
            lowering.stop()
    print(describe_machine(("openvino", "fastapi", "uvicorn")))
    print(f"{', '.join(args.bounds)}; {args.rounds} rounds of {args.seconds:g} s")
    print(f"deadline {args.deadline:g} s\n")
    print(tabulate(rows(found), HEADS, tablefmt="github", disable_numparse=True))
    if args.plot:
        args.plot.write_bytes(draw(found))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(made)
    add = made.add_argument
    add("--bounds", nargs="+", default=BOUNDS, help="settings of the second service (default: %(default)s)")
    add("--seconds", type=float, default=4.0, help="of each window (default: %(default)s)")
    add("--lead", type=float, default=3.0, help="seconds of load before a window (default: %(default)s)")
    add("--deadline", type=float, default=1.0, help="seconds for a good answer (default: %(default)s)")
    add("--rounds", type=int, default=3, help="of each load (default: %(default)s)")
    add("--factors", type=float, nargs="*", default=FACTORS, help="multiples of the capacity")
    add("--plot", type=Path, help="PNG file for a plot")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def measure(
    args: argparse.Namespace, images: tuple[str, ...], services: Sequence[Service]
) -> dict[float, dict[str, list[Round]]]:
    """Return the rounds of every service by load."""
    times = {"seconds": args.seconds, "before_s": args.lead, "deadline_s": args.deadline}
    tries = [services[0].measure(images, callers=8, **times).rate for _ in range(1 if args.smallest else 3)]
    capacity = max(tries)
    print(f"the capacity is {capacity:.1f} images/s", file=sys.stderr)
    found: dict[float, dict[str, list[Round]]] = {}
    for factor in args.factors:
        of_load: dict[str, list[Round]] = {service.name: [] for service in services}
        for turn in range(args.rounds):
            for service in services if turn % 2 == 0 else services[::-1]:
                before, waited = service.experts_and_images(), waits(service)
                report = service.measure(images, rate=factor * capacity, **times)
                experts = mean_experts(before, service.experts_and_images())
                after = waits(service)
                turns_s = after[1] - waited[1]
                wait_turns = (after[0] - waited[0]) / turns_s if turns_s else math.nan
                of_load[service.name].append(Round(report, experts, wait_turns))
                print(f"{factor:g} × capacity, {service.name}: {report}", file=sys.stderr)
        found[factor] = of_load
    return found


def waits(service: Service) -> tuple[float, float]:
    """Return the seconds that images have waited, and the seconds that their turns lasted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    wait_s = sum(map(float, WAITS.findall(text)))
    # The stage `queue` holds the wait for a turn, and also what an image waits in its turn.
    return wait_s, sum(map(float, STAGES.findall(text))) - wait_s


def rows(found: dict[float, dict[str, list[Round]]]) -> list[list[str]]:
    """Return the rows of the table; figures are medians of the rounds, with the lowest and highest ratio."""
    made = []
    for factor, of_load in found.items():
        plain = next(iter(of_load.values()))
        for name, rounds in of_load.items():
            both = [
                (one.report.goodput, other.report.goodput) for one, other in zip(rounds, plain, strict=True)
            ]
            ratios = [own / alone for own, alone in both if alone] or [math.nan]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            made.append(
                [
                    f"{factor:g} × capacity",
                    name,
                    number(middle(rounds, lambda one: one.report.goodput), ".1f"),
                    "1" if rounds is plain else spread,
                    number(middle(rounds, lambda one: percentile(one.report.accepted_ms, 0.5)), ".0f"),
                    number(middle(rounds, lambda one: percentile(one.report.accepted_ms, 0.99)), ".0f"),
                    number(middle(rounds, lambda one: one.report.statuses.get(429, 0)), ".0f"),
                    number(middle(rounds, lambda one: one.experts), ".2f"),
                    number(middle(rounds, lambda one: one.wait_turns), ".2f"),
                ]
            )
    return made


def middle(rounds: Sequence[Round], figure: Callable[[Round], float]) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(figure(one) for one in rounds)


def draw(found: dict[float, dict[str, list[Round]]]) -> bytes:
    """Return a PNG with goodput, the slowest 1 % and the experts in force against the offered load."""
    from training.lab.inspection.style import COLOURS, FAINT, GRID, INK, SMALL, TEXT, bare, new_figure

    figure = new_figure(7.0, "Fewer experts under load", "Images arrive at random moments.")
    panels = figure.subplots(3, 1, sharex=True)
    figures = (
        ("good answers per second", lambda one: one.report.goodput),
        ("slowest 1 %, ms", lambda one: percentile(one.report.accepted_ms, 0.99)),
        ("experts a layer", lambda one: one.experts),
    )
    for axes, (label, of_round) in zip(panels, figures, strict=True):
        for place, name in enumerate(next(iter(found.values()))):
            values = [middle(of_load[name], of_round) for of_load in found.values()]
            axes.plot(list(found), values, "o-", color=COLOURS[place], label=name, ms=4)
        bare(axes)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label, fontsize=SMALL, color=FAINT)
        axes.grid(color=GRID, linewidth=0.6)
    panels[-1].set_xticks(list(found), [f"{factor:g}" for factor in found], fontsize=SMALL, color=INK)
    panels[-1].set_xlabel("offered load, in capacities", fontsize=TEXT, color=INK)
    panels[0].legend(fontsize=SMALL, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


if __name__ == "__main__":
    sys.exit(main())
