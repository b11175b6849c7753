"""The style of the charts, which are 1200 pixels wide and readable for colour-blind people."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_IN = 8.0
DPI = 150
TITLE, TEXT, SMALL = 12, 9, 8  # points
INK, FAINT, GRID = "#222222", "#666666", "#dddddd"
# Distinct for colour-blind people (after Okabe and Ito, without yellow). OTHERS is for all further sets.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
OTHERS = "#bbbbbb"


def new_figure(height_in: float, title: str, subtitle: str) -> Figure:
    """Return a figure with a title and, below the title, a subtitle in smaller letters."""
    whole = height_in + 0.42 + 0.17 * (subtitle.count("\n") + 1)
    figure = Figure(figsize=(WIDTH_IN, whole), dpi=DPI, layout="constrained", facecolor="white")
    edge = 0.06  # inches
    figure.get_layout_engine().set(rect=(0.01, edge / whole, 0.98, (height_in - 2 * edge) / whole))  # type: ignore[union-attr, call-arg]
    figure.text(0.02, 1 - 0.12 / whole, title, fontsize=TITLE, weight="bold", color=INK, va="top")
    figure.text(0.02, 1 - 0.38 / whole, subtitle, fontsize=SMALL, color=FAINT, va="top", linespacing=1.4)
    return figure


def bare(axes: Axes) -> None:
    """Remove the frame and the ticks of a chart."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, colors=INK)
