"""Draw the goodput of services, and the experts that they ran, against the number of callers."""

import io
import math
from collections.abc import Sequence

from tests.load.reports import OPEN, POLITE, Point
from training.lab.inspection.style import COLOURS, FAINT, GRID, INK, SMALL, TEXT, bare, new_figure


def draw(points: Sequence[Point]) -> bytes:
    """Return a PNG: above, goodput against callers; below, experts a layer, if a service reported them."""
    closed = [point for point in points if point.kind != OPEN]
    lines: dict[str, list[Point]] = {}
    for point in sorted(closed, key=lambda point: point.amount):
        wait = ", callers wait as told" if point.kind == POLITE else ""
        lines.setdefault(point.service + wait, []).append(point)
    deadline_s = closed[0].report.deadline_s
    with_experts = any(not math.isnan(point.experts) for point in closed)
    figure = new_figure(
        5.2 if with_experts else 3.4,
        "Goodput against the number of callers",
        f"Status 200 within {deadline_s:g} s. Each caller sends its next image after the answer.",
    )
    ratios = [3, 2] if with_experts else [1]
    grid = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios})
    above, below = grid[0][0], grid[-1][0]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        callers = [point.amount for point in line]
        above.plot(callers, [point.report.goodput for point in line], "o-", color=colour, label=name, ms=4)
        if with_experts and not all(math.isnan(point.experts) for point in line):
            below.plot(callers, [point.experts for point in line], "o-", color=colour, ms=4)
    for axes, label in ((above, "good answers per second"), (below, "experts a layer")):
        if axes is below and not with_experts:
            continue
        bare(axes)
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label, fontsize=SMALL, color=FAINT)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    ticks = sorted({point.amount for point in closed})
    below.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=SMALL, color=INK)
    below.set_xlabel("callers at the same time", fontsize=TEXT, color=INK)
    above.legend(fontsize=SMALL, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
