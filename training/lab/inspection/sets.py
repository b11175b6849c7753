"""Charts of the sets of experts that ran together: their shares of images, and example images of each set."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.data.sample import Dataset
from training.evaluate.expert_use import chosen_sets
from training.evaluate.groups import Grouping
from training.evaluate.routed import RoutedImages
from training.evaluate.routing_report import RoutingReport
from training.lab.inspection.style import COLOURS, FAINT, INK, OTHERS, SMALL, TEXT, bare, new_figure

LEAST_WRITTEN = 0.07  # smaller shares of a bar get no number
MOST_SETS, IMAGES = 6, 6  # rows of examples, and images in a row
THUMBNAIL = (144, 192)  # (H, W) pixels


def set_name(experts: tuple[int, ...]) -> str:
    """Return the experts of a set as text: `1 + 3`, or `none`."""
    return " + ".join(str(expert) for expert in experts) or "none"


def draw_sets(routed: RoutedImages, report: RoutingReport, grouping: Grouping) -> Figure:
    """Draw one panel for each layer, with one bar for each group of images.

    The bar shows for what share of the group's images each set of experts ran.
    """
    figure = new_figure(
        len(routed.gates) * (0.55 + 0.24 * len(grouping.labels)),
        f"Sets of experts by {grouping.name}",
        "Share of a group's images for which these experts ran, numbered from 0. If all bars are alike,\n"
        "the layer ignores the group. NMI: normalised mutual information of set and group.",
    )
    panels = figure.subplots(len(routed.gates), 1, sharex=True, squeeze=False)[:, 0]
    for axes, layer in zip(panels, report.layers, strict=True):
        found, name = layer.by_grouping[grouping.name], layer.use.layer
        title = (
            f"{name}, {layer.use.information_bits:.2f} bit; "
            f"NMI {found.nmi:.2f} (by chance {found.chance:.2f}), p = {found.p_value:.4f}"
        )
        sets, ids = chosen_sets(routed.gates[name])
        draw_shares(axes, grouping, [set_name(each) for each in sets], ids, title, "experts")
    name_shares(panels[-1])
    return figure


def name_shares(axes: Axes) -> None:
    """Write percentages under the bars of draw_shares."""
    axes.set_xticks(np.linspace(0, 1, 5), ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("of the group's images", fontsize=SMALL, color=FAINT)


def draw_shares(
    axes: Axes, grouping: Grouping, names: Sequence[str], ids: NDArray[np.int64], title: str, what: str
) -> None:
    """Draw a bar for each group of images, which shows what share of the images had each choice.

    Args:
        names: name of each choice, the commonest first; if there are more names than colours, the last names
            are drawn together.
        ids: the choice of each image, (images,), as an index into `names`.
        what: heading of the names.
    """
    left = np.zeros(len(grouping.labels))
    sizes = np.bincount(grouping.ids)
    shown = names[: len(COLOURS)]
    for place in range(len(shown) + (len(names) > len(shown))):
        rest = place == len(shown)
        mine = ids >= place if rest else ids == place
        share = np.bincount(grouping.ids[mine], minlength=len(sizes)) / sizes
        label = f"{len(names) - place} others" if rest else names[place]
        colour = OTHERS if rest else COLOURS[place]
        axes.barh(range(len(sizes)), share, left=left, height=0.72, color=colour, label=label)
        for row, part in enumerate(share):
            if part >= LEAST_WRITTEN:
                x = left[row] + part / 2
                ink = INK if rest or place in (1, 4) else "white"
                axes.text(x, row, f"{part:.0%}", ha="center", va="center", fontsize=7, color=ink)
        left += share
    labels = [f"{label} ({size:,})" for label, size in zip(grouping.labels, sizes, strict=True)]
    axes.set_yticks(range(len(sizes)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_title(title, fontsize=TEXT, loc="left", color=INK)
    spacing = {"handlelength": 1, "labelspacing": 0.25, "borderaxespad": 0.3}
    letters = {"fontsize": SMALL, "title_fontsize": SMALL, "frameon": False}
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=what, **letters, **spacing)
    bare(axes)


def draw_examples(dataset: Dataset, routed: RoutedImages, layer: str) -> Figure:
    """Draw a row of example images for each of the commonest expert sets in a layer.

    The images for which a set ran are taken in the order of the data set. The examples are picked from them
    at even distances.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    sets, ids = chosen_sets(routed.gates[layer])
    counts = np.bincount(ids)
    rows = min(MOST_SETS, len(sets))
    shown = f"The {rows} commonest of {len(sets)} sets" if len(sets) > rows else "Every set"
    figure = new_figure(
        rows * 0.92,
        f"Examples by the experts of {layer}",
        f"{shown} of experts, and images for which they ran. A good router puts similar images in a row.",
    )
    panels = figure.subplots(rows, IMAGES + 1, squeeze=False)
    for place in range(rows):
        for axes in panels[place]:
            axes.set_axis_off()
        share = counts[place] / len(ids)
        words = panels[place, 0]
        words.text(0.0, 0.72, "experts", fontsize=SMALL, color=FAINT)
        words.text(0.0, 0.48, set_name(sets[place]), fontsize=TEXT, weight="bold", color=INK)
        images = f"{counts[place]:,} image{'' if counts[place] == 1 else 's'}, {share:.0%}"
        words.text(0.0, 0.22, images, fontsize=SMALL, color=FAINT)
        mine = np.flatnonzero(ids == place)
        picked = mine[np.unique(np.linspace(0, len(mine) - 1, IMAGES).round().astype(int))]
        for axes, index in zip(panels[place, 1:], picked, strict=False):
            axes.imshow(_thumbnail(dataset.load(int(index)).image))
    return figure


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the centre of an image, scaled and cropped to THUMBNAIL."""
    height, width = image.shape[:2]
    high, wide = THUMBNAIL
    scale = max(high / height, wide / width)
    size = (max(wide, round(width * scale)), max(high, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - high) // 2, (size[0] - wide) // 2
    return np.asarray(small[top : top + high, left : left + wide], dtype=np.uint8)
