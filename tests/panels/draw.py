"""Draw the panels of one row of a dashboard as an image, in the manner of Grafana."""

import io
import math
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tests.panels.answers import Line, Period, Shown

Json = dict[str, Any]
COLUMNS, UNIT_IN, WIDTH_IN, DPI = 24, 0.36, 15.0, 80
INK, FAINT, GRID, PAGE = "#1f2329", "#6b7280", "#e5e7eb", "#f4f5f7"
COLOURS = ("#5794f2", "#f2994a", "#73bf69", "#b877d9", "#e0b400", "#e24d42", "#3aa6a0", "#8f8f8f")
NAMED = {"green": "#56a64b", "orange": "#f2994a", "red": "#d44a3a", "blue": "#3274d9", "text": INK}
MOST_IN_LEGEND = 10


def draw_row(title: str, shown: list[Shown], period: Period) -> bytes:
    """Return a PNG of one row."""
    high = max(one.y + one.height for one in shown)
    height_in = high * UNIT_IN + 0.4
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=PAGE)
    figure.text(0.006, 1 - 0.2 / height_in, title, fontsize=12, weight="bold", color=INK, va="center")
    for one in shown:
        left, width = one.x / COLUMNS, one.width / COLUMNS
        bottom = 1 - (0.4 + (one.y + one.height) * UNIT_IN) / height_in
        _draw_panel(figure, one, (left, bottom, width, one.height * UNIT_IN / height_in), height_in, period)
    image = io.BytesIO()
    figure.savefig(image, format="png", facecolor=PAGE)
    small = io.BytesIO()
    Image.open(image).convert("RGB").quantize(48).save(small, "png", optimize=True)
    return small.getvalue()


def _draw_panel(
    figure: Figure, one: Shown, place: tuple[float, float, float, float], height_in: float, period: Period
) -> None:
    x, y, width, height = place
    gap_x, gap_y = 0.05 / WIDTH_IN, 0.05 / height_in
    frame = figure.add_axes((x + gap_x, y + gap_y, width - 2 * gap_x, height - 2 * gap_y))
    frame.set(xticks=[], yticks=[], facecolor="white")
    for side in frame.spines.values():
        side.set_color(GRID)
    top = 0.22 / height_in
    figure.text(x + 0.12 / WIDTH_IN, y + height - top, one.title, fontsize=8.5, weight="bold", color=INK,
                va="center")  # fmt: skip
    pad = {"stat": (0.1, 0.1), "table": (0.1, 0.1), "barchart": (0.35, 0.45)}
    left, bottom = pad.get(one.panel["type"], (0.62, 0.62))
    if one.panel["type"] in ("state-timeline", "status-history"):
        left, bottom = 1.5, 0.5
    axes = figure.add_axes((
        x + left / WIDTH_IN, y + bottom / height_in,
        width - (left + 0.15) / WIDTH_IN, height - 2 * top - (bottom - 0.02) / height_in,
    ))  # fmt: skip
    drawing: dict[str, Callable[[Axes, Shown, Period], None]] = {
        "stat": _stat, "timeseries": _timeseries, "barchart": _bars, "status-history": _history,
        "state-timeline": _timeline, "table": _table,
    }  # fmt: skip
    if not any(one.lines):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No data", ha="center", va="center", fontsize=9, color=FAINT)
        return
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(length=0, labelsize=7, colors=FAINT)
    drawing[one.panel["type"]](axes, one, period)


def _all(one: Shown) -> list[Line]:
    return [line for lines in one.lines for line in lines]


def _time_axis(axes: Axes, period: Period) -> None:
    minutes = (period.end - period.start) / 60
    axes.set_xlim(0, minutes)
    axes.xaxis.set_major_locator(_every(max(1, round(minutes / 5))))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} min")


def _every(minutes: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(minutes)


def _stat(axes: Axes, one: Shown, _: Period) -> None:
    axes.set_axis_off()
    line = _all(one)[0]
    value, defaults = line.points[-1][1], one.panel["fieldConfig"]["defaults"]
    text = formatted(value, defaults)
    colour = next(
        step["color"]
        for step in reversed(defaults["thresholds"]["steps"])
        if step["value"] is None or value >= step["value"]
    )
    for mapping in defaults["mappings"]:
        if state := mapping["options"].get(f"{value:g}"):
            text, colour = state["text"], state["color"]
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=19, weight="bold",
              color=NAMED[colour])  # fmt: skip


def _timeseries(axes: Axes, one: Shown, period: Period) -> None:
    defaults = one.panel["fieldConfig"]["defaults"]
    custom, lines = defaults["custom"], _all(one)
    stacked = custom["stacking"]["mode"] == "normal"
    below: dict[float, float] = {}
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        minutes = [(at - period.start) / 60 for at, _ in line.points]
        values = [value for _, value in line.points]
        if stacked:
            base = [below.get(round(at, 3), 0.0) for at in minutes]
            values = [b + (0.0 if math.isnan(v) else v) for b, v in zip(base, values, strict=True)]
            below |= {round(at, 3): value for at, value in zip(minutes, values, strict=True)}
            axes.fill_between(minutes, base, values, color=colour, alpha=0.3, linewidth=0)
        axes.plot(minutes, values, color=colour, linewidth=1.1, label=line.legend or "value")
    if custom["scaleDistribution"]["type"] == "log":
        axes.set_yscale("log")
    else:
        most = max((v for line in lines for _, v in line.points if math.isfinite(v)), default=0.0)
        axes.set_ylim(0, defaults.get("max", None) or (None if stacked else max(most * 1.15, 1e-9)))
        if not stacked and most == 0:
            axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(lambda value, _: formatted(value, defaults))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    _time_axis(axes, period)
    _legend(axes, len(lines))


def _legend(axes: Axes, count: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if count > MOST_IN_LEGEND:
        handles, labels = handles[:MOST_IN_LEGEND], labels[:MOST_IN_LEGEND]
        labels[-1] += f" and {count - MOST_IN_LEGEND} more"
    axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncol=3 if count <= 6 else 4,
        fontsize=6.5, frameon=False, labelcolor=INK, handlelength=1.0, columnspacing=1.0,
        handletextpad=0.4, borderpad=0.1, labelspacing=0.25,
    )  # fmt: skip


def _bars(axes: Axes, one: Shown, _: Period) -> None:
    label = one.panel["options"]["xField"]
    defaults = one.panel["fieldConfig"]["defaults"]
    names = list(one.panel["transformations"][1]["options"]["renameByName"].values())
    bars = sorted({line.labels[label] for line in _all(one)})
    height = 0.8 / len(names)
    for number, (name, lines) in enumerate(zip(names, one.lines, strict=True)):
        values = {line.labels[label]: line.points[-1][1] for line in lines}
        at = [place + (number + 0.5) * height - 0.4 for place in range(len(bars))]
        widths = [values.get(bar, math.nan) for bar in bars]
        axes.barh(at, widths, height * 0.92, color=COLOURS[number], label=name)
        for y, width in zip(at, widths, strict=True):
            if math.isfinite(width):
                axes.text(width + 0.01, y, formatted(width, defaults), va="center", fontsize=6.5, color=INK)
    axes.set_yticks(range(len(bars)), bars)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks([])
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.02), ncol=2, fontsize=6.5, frameon=False)


def _history(axes: Axes, one: Shown, period: Period) -> None:
    lines = sorted(_all(one), key=lambda line: line.legend)
    every = max(1, math.ceil(len(lines[0].points) / 60))
    for row, line in enumerate(lines):
        points = line.points[::every]
        width = period.step * every / 60
        for at, value in points:
            if math.isfinite(value):
                axes.barh(row, width * 0.94, 0.86, left=(at - period.start) / 60, align="center",
                          color=(0.12, 0.38, 0.69, max(0.04, min(1.0, value))))  # fmt: skip
    axes.set_yticks(range(len(lines)), [line.legend for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=6)
    _time_axis(axes, period)


def _timeline(axes: Axes, one: Shown, period: Period) -> None:
    lines = sorted(_all(one), key=lambda line: line.legend)
    (mapping,) = one.panel["fieldConfig"]["defaults"]["mappings"]
    states = mapping["options"]
    for row, line in enumerate(lines):
        for at, value in line.points:
            if state := states.get(f"{value:g}"):
                axes.barh(row, period.step / 60 * 1.02, 0.8, left=(at - period.start) / 60,
                          color=NAMED[state["color"]], linewidth=0)  # fmt: skip
    axes.set_yticks(range(len(lines)), [line.legend or "now" for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=6 if len(lines) > 8 else 7)
    for state in states.values():
        axes.barh(0, 0, color=NAMED[state["color"]], label=state["text"])
    _time_axis(axes, period)
    _legend(axes, len(states))


def _table(axes: Axes, one: Shown, _: Period) -> None:
    axes.set_axis_off()
    columns = one.panel["transformations"][0]["options"]["include"]["names"]
    rows = [[line.labels.get(column, "")[:22] for column in columns] for line in _all(one)]
    kept = [column for place, column in enumerate(columns) if any(row[place] for row in rows)]
    cells = [[row[columns.index(column)] for column in kept] for row in rows]
    table = axes.table(cells, colLabels=kept, loc="upper left", cellLoc="left", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    table.auto_set_column_width(list(range(len(kept))))
    for (row, _column), cell in table.get_celld().items():
        cell.set_edgecolor(GRID)
        cell.set_height(0.1)
        cell.get_text().set(color=FAINT if row == 0 else INK)


def formatted(value: float, defaults: Json) -> str:
    """Return a value with its unit."""
    if not math.isfinite(value):
        return "–"
    digits = defaults.get("decimals")
    match defaults["unit"]:
        case "percentunit":
            text = f"{value * 100:.{1 if digits is None else digits}f} %"
        case "s":
            text = _seconds(value)
        case "µs":
            text = _seconds(value / 1e6)
        case "bytes":
            text = f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"
        case unit:
            rounded = f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
            text = f"{rounded} /s" if unit in ("reqps", "ops") else rounded
    return text


def _seconds(value: float) -> str:
    """Return a time in the unit that needs the fewest digits."""
    for least, unit_s, name in ((172_800, 86_400, "d"), (120, 60, "min"), (1, 1, "s")):
        if abs(value) >= least:
            return f"{value / unit_s:.3g} {name}"
    return f"{value * 1000:.3g} ms"
