"""Example images of a data set, sorted by the experts that one layer chose for them."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sample import Dataset
from training.evaluate.expert_use import chosen_sets
from training.evaluate.routed import RoutedImages
from training.lab.inspection.sets import set_name
from training.lab.inspection.style import FAINT, INK, SMALL, TEXT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SETS, IMAGES = 6, 6
THUMBNAIL = (144, 192)  # (H, W) pixels


def draw_examples(dataset: Dataset, routed: RoutedImages, layer: str) -> "Figure":
    """Draw a row of images for each of the commonest sets, evenly spaced among its images.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    sets, ids = chosen_sets(routed.gates[layer])
    counts = np.bincount(ids)
    rows = min(MOST_SETS, len(sets))
    shown = (
        f"The {rows} commonest of {len(sets)} sets of experts" if len(sets) > rows else "Every set of experts"
    )
    figure = new_figure(
        rows * 0.92,
        f"Examples by the experts of {layer}",
        f"{shown}, and images for which they ran. Alike ones in a row show a router that looks at them.",
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
