"""A chart that shows how the compute of an image depends on the number of objects in it."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.evaluate.compute_use import used_gflops
from training.evaluate.groups import Grouping
from training.evaluate.routed import RoutedImages
from training.evaluate.routing_report import RoutingReport
from training.lab.inspection.style import COLOURS, FAINT, GRID, INK, SMALL, TEXT, bare, new_figure
from training.models.cost import Cost

SPREAD = 0.15  # in boxes; moves points apart that have the same number of boxes


def draw_spent(routed: RoutedImages, report: RoutingReport, cost: Cost) -> Figure:
    """Draw the GFLOPs of each image, the mean GFLOPs of each density group, and the lowest and highest cost.

    Density groups are groups of images with similar numbers of objects.
    """
    compute = report.compute
    correlation = "No correlation: GFLOPs or the number of objects are the same for every image."
    if compute.spearman is not None and compute.pearson is not None:
        correlation = f"Correlation: Spearman {compute.spearman:+.2f}, Pearson {compute.pearson:+.2f}."
    figure = new_figure(
        4.3,
        "GFLOPs of an image, by number of objects",
        f"GFLOPs of the fixed part and of the experts that the image chose.\n{correlation}",
    )
    axes = figure.subplots()
    boxes, used = routed.boxes_per_image, used_gflops(cost, routed.gates)
    x = boxes + np.random.default_rng(0).uniform(-SPREAD, SPREAD, len(boxes))
    origins = [("image", np.ones(len(boxes), dtype=np.bool_))]
    for grouping in report.groupings:
        if grouping.name == "origin":
            origins = [(label, grouping.ids == group) for group, label in enumerate(grouping.labels)]
        else:
            _means(axes, grouping, boxes, used)
    for index, (label, mine) in enumerate(origins):
        colour = COLOURS[index % len(COLOURS)]
        axes.scatter(x[mine], used[mine], s=18, color=colour, alpha=0.6, linewidths=0, label=label)
    _levels(axes, cost)
    axes.set_xlabel("labelled objects in the image", fontsize=TEXT, color=INK)
    axes.set_ylabel("GFLOPs of the image", fontsize=TEXT, color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", fontsize=SMALL, frameon=False, ncols=5
    )
    return figure


def _means(axes: Axes, density: Grouping, boxes: NDArray[np.int64], used: NDArray[np.float64]) -> None:
    for group in range(len(density.labels)):
        mine = density.ids == group
        low, high = boxes[mine].min() - 0.4, boxes[mine].max() + 0.4
        label = "mean of a density group" if group == 0 else "_"
        axes.hlines(used[mine].mean(), low, high, color=INK, linewidth=2, label=label, zorder=1)


def _levels(axes: Axes, cost: Cost) -> None:
    """Draw two dashed lines: at the GFLOPs if every expert runs, and at the GFLOPs if no expert runs."""
    for level, what in ((cost.dense, "every expert"), (cost.fixed, "fixed part, no expert")):
        axes.axhline(level, color=FAINT, linewidth=1, linestyle="dashed")
        style: dict[str, Any] = {"ha": "right", "fontsize": SMALL, "color": FAINT}
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        text, across = f"{what}: {level:.3g}", axes.get_yaxis_transform()
        axes.annotate(text, (1, level), (-2, 3), across, "offset points", **style)
    axes.set_ylim(0, cost.dense * 1.12)
