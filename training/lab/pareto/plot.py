"""Draw accuracy against time: one line for each model, and the Pareto front."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.files import written_beside
from training.lab.inspection.style import COLOURS, DPI, FAINT, GRID, INK, OTHERS, SMALL, TEXT, new_figure
from training.lab.pareto.command import DENSE_ENDING, Pareto
from training.lab.pareto.points import Point

HEIGHT_IN = 5.0
MARKERS = "osD^vP"  # one for each colour, so that colour is not the only difference


def draw(result: Pareto, path: Path) -> None:
    """Draw the points of a comparison that has some; an existing file is replaced when the new one is whole.

    The name of the file must end in .png, .svg or .pdf.
    """
    figure = figure_of(result)
    with written_beside(path) as partial:
        figure.savefig(partial, format=path.suffix.lower().lstrip("."), dpi=DPI)


def figure_of(result: Pareto) -> Figure:
    """Return the drawing of a comparison that has points."""
    noisy = ", TOO NOISY" if result.noisy else ""
    subtitle = (
        f"{result.metric}50-95 on {result.images} images; bars: smallest to largest of the seeds\n"
        f"openvino {result.precision}, one thread, {result.rounds} rounds{noisy}\n{result.machine}"
    )
    figure = new_figure(HEIGHT_IN, "Accuracy and time for one image", subtitle)
    axes = figure.subplots()
    measured = [point for point in result.points if point.score is not None]
    skipping = [point for point in measured if point.setting and point.setting.execution == "sparse"]
    above = list(dict.fromkeys(point.series for point in skipping))[::2]
    models = list(dict.fromkeys(_model(point.series) for point in measured))
    for series in dict.fromkeys(point.series for point in measured):
        index = models.index(_model(series))
        colour = COLOURS[index] if index < len(COLOURS) else OTHERS
        own = [point for point in measured if point.series == series]
        _line(axes, series, own, colour, MARKERS[index % len(MARKERS)], above=series in above)
    if result.front:
        times = [1e3 * point.time.median for point in result.front]
        scores = [100 * (point.score or 0) for point in result.front]
        axes.step(
            times, scores, where="post", color=FAINT, linewidth=1, linestyle="dashed", label="Pareto front"
        )
    for point in result.points:
        if point.score is None:
            _time_alone(axes, point)
    axes.margins(x=0.1, y=0.15)  # room for the names of settings
    axes.set_xlim(left=0)
    axes.set_xlabel("ms for one image", fontsize=TEXT, color=INK)
    axes.set_ylabel(f"{result.metric}50-95, %", fontsize=TEXT, color=INK)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.legend(fontsize=SMALL, loc="best")
    return figure


def _model(series: str) -> str:
    """Return the model of a series, which with all experts computed has the same colour and marker."""
    return series.removesuffix(DENSE_ENDING)


def _line(axes: Axes, series: str, points: Sequence[Point], colour: str, marker: str, *, above: bool) -> None:
    """Draw the points of one model, joined in the order of their times, with the range of the seeds.

    The names of the settings are turned, and `above` the line for every other model, so that few overlap.
    """
    ordered = sorted(points, key=lambda point: point.time.median)
    times = [1e3 * point.time.median for point in ordered]
    scores = [100 * (point.score or 0) for point in ordered]
    spread = [
        [score - 100 * min(point.scores) for point, score in zip(ordered, scores, strict=True)],
        [100 * max(point.scores) - score for point, score in zip(ordered, scores, strict=True)],
    ]
    axes.errorbar(
        times,
        scores,
        yerr=[[max(each, 0) for each in side] for side in spread],  # a mean can be off by rounding
        label=series,
        color=colour,
        marker=marker,
        markerfacecolor=colour if ordered[0].input_hw else "white",  # white: measured elsewhere
        markerfacecoloralt="white",
        fillstyle="left" if series.endswith(DENSE_ENDING) else "full",
        capsize=3,
        linewidth=1,
    )
    for time, score, point in zip(times, scores, ordered, strict=True):
        axes.annotate(
            point.setting_text,
            (time, score),
            (-2, 6 if above else -6),
            textcoords="offset points",
            rotation=50 if above else -50,
            rotation_mode="anchor",
            va="bottom" if above else "top",
            fontsize=SMALL,
            color=colour,
        )


def _time_alone(axes: Axes, point: Point) -> None:
    """Draw the time of a detector of unknown accuracy as a vertical line."""
    time = 1e3 * point.time.median
    axes.axvline(time, color=FAINT, linestyle="dotted")
    axes.annotate(
        f"{point.series}, time only",
        (time, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-3, 0),
        rotation=90,
        va="bottom",
        ha="right",
        textcoords="offset points",
        fontsize=SMALL,
        color=INK,
    )
