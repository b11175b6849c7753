"""Charts of the experts that ran for each class, object size and group of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.evaluate.groups import Grouping
from training.evaluate.routed import RoutedImages
from training.lab.inspection.style import FAINT, INK, SMALL, TEXT, bare, new_figure

# N images · R rows of the chart · E experts

SMALL_BELOW, MEDIUM_BELOW = 32**2, 96**2  # COCO's sizes of objects, in square pixels of the source image
MOST_CLASSES = 20
ACROSS = 3  # panels in a row
NUMBERS_TO = 8  # with more experts than this, numbers do not fit into the panels


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a chart, such as classes or groups of images.

    Each row has a count for every image. In the row of a class, it is the number of objects of this class in
    the image. In the row of a group of images, it is 1 if the image is in the group, else 0.
    """

    labels: tuple[str, ...]
    weights: NDArray[np.float64]  # (R, N) counts; no row is all 0

    def shares(self, gates: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return, for each row, for what share of its objects or images each expert ran, (R, E).

        If every expert runs for every image, return each expert's mean gate instead. `gates` are (N, E).
        """
        chosen = gates > 0
        of_image = gates if chosen.all() else chosen
        return np.asarray(self.weights @ of_image / self.weights.sum(axis=1, keepdims=True))


def class_rows(routed: RoutedImages, class_names: Sequence[str]) -> Rows:
    """Return one row for each of the MOST_CLASSES commonest classes; leave out classes without objects."""
    counts = np.stack([np.bincount(one.class_ids, minlength=len(class_names)) for one in routed.truths], 1)
    commonest = np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES]  # of (C, N)
    return _present([class_names[index] for index in commonest], counts[commonest])


def size_rows(routed: RoutedImages) -> Rows:
    """Return one row for each of COCO's three sizes of objects, by their area in the source image."""
    sizes = [np.digitize(one.object_areas, (SMALL_BELOW, MEDIUM_BELOW)) for one in routed.truths]
    counts = np.stack([np.bincount(each, minlength=3) for each in sizes], axis=1)
    return _present(["small, under 32² px", "medium", "large, from 96² px"], counts)


def group_rows(grouping: Grouping) -> Rows:
    """Return one row for each group of images."""
    return _present(list(grouping.labels), np.eye(len(grouping.labels), dtype=np.int64)[:, grouping.ids])


def _present(labels: Sequence[str], counts: NDArray[np.int64]) -> Rows:
    kept = counts.sum(axis=1) > 0
    there = tuple(label for label, here in zip(labels, kept, strict=True) if here)
    return Rows(there, counts[kept].astype(np.float64))


def draw_use(rows: Rows, routed: RoutedImages, bits: Mapping[str, float], what: str, unit: str) -> Figure:
    """Draw one panel for each layer, with the experts from left to right, and the rows from top to bottom.

    Args:
        bits: how many bits of information about the image each layer's routing carries.
        what: name of the property by which the rows differ, such as `class`.
        unit: `objects` or `images`, which the rows count.
    """
    every = rows.weights.sum(axis=0) if unit == "objects" else np.ones(len(routed.truths))
    whole = Rows((f"all {unit}", *rows.labels), np.vstack([every, rows.weights]))
    layers = list(routed.gates)
    down, across = -(-len(layers) // ACROSS), min(ACROSS, len(layers))
    chose = "that chose the expert" if unit == "images" else "whose image chose the expert"
    figure = new_figure(
        down * (0.75 + 0.22 * len(whole.labels)),
        f"Experts by {what}",
        f"Share of a row's {unit} {chose}, from 0% (white) to 100% (dark blue).\n"
        f"If all rows of a panel are alike, the layer ignores {what}.",
    )
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(layers) :]:
        axes.set_axis_off()
    for place, (axes, layer) in enumerate(zip(panels, layers, strict=False)):
        weights = ", weights" if (routed.gates[layer] > 0).all() else ""
        _panel(axes, whole, whole.shares(routed.gates[layer]), f"{layer}, {bits[layer]:.2f} bit{weights}")
        if place % across:
            axes.set_yticklabels([])
    return figure


def _panel(axes: Axes, rows: Rows, shares: NDArray[np.float64], title: str) -> None:
    count, experts = shares.shape
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    bare(axes)
    if experts <= NUMBERS_TO:
        size = 7 if experts <= 4 else 6
        for (row, expert), share in np.ndenumerate(shares):
            colour = "white" if share > 0.6 else INK
            axes.text(expert, row, f"{share:.0%}", ha="center", va="center", fontsize=size, color=colour)
    counted = rows.weights.sum(axis=1)
    labels = [f"{label} ({total:,.0f})" for label, total in zip(rows.labels, counted, strict=True)]
    axes.set_yticks(range(count), labels)
    axes.set_xticks(range(experts))
    axes.tick_params(axis="x", labelsize=SMALL if experts <= NUMBERS_TO else 6)
    axes.set_xlabel("expert", fontsize=SMALL, color=FAINT)
    axes.set_title(title, fontsize=TEXT, loc="left", color=INK)
    axes.axhline(0.5, color="white", linewidth=3)  # below the first row, which counts all objects or images
