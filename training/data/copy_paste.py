"""Copy-paste augmentation: copies the boxes of objects from one image onto another.

Source: Ghiasi et al. 2020, arXiv:2012.07177. There, objects have masks. A box also contains background, so
here pasted boxes cover other objects only a little. They fade out at their edges, since a visible seam would
give an object away.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.mosaic import (
    MIN_SIDE_PX,
    MIN_VISIBLE,
    Offset,
    Placed,
    Window,
    area_fraction,
    clip_boxes,
    without_hidden,
)
from training.data.sample import Sample

MAX_HIDDEN = 0.3  # largest share of an existing object's box that a pasted object may cover
MAX_OBJECTS = 8  # most objects pasted onto one image; more would cost time and rarely find a place
PLACES_TRIED = 10  # for each object; if none fits, the object is left out
SOFT_EDGE_PX = 4  # width of the border around the box over which the patch fades out
FADE_PX = SOFT_EDGE_PX + 1  # distance from the box at which nothing of the patch is visible


@dataclass(frozen=True)
class Patch:
    """An object cut out of its image: the pixels in and around its box, and the labels in the box."""

    content: Placed  # in the patch's own pixels; boxes are clipped to `solid`
    solid: Window  # the object's box in whole pixels, pasted at full opacity


def paste_objects(canvas: Placed, source: Sample, rng: np.random.Generator) -> Placed:
    """Return the canvas with some of the source's objects pasted at random places where they fit.

    Args:
        canvas: the image to paste onto. It is not modified; if no object fits, the same canvas is returned.
        source: the image to cut objects from, at the scale at which the objects should appear.
    """
    count = min(len(source.class_ids), MAX_OBJECTS)
    if count == 0:
        return canvas
    for index in rng.permutation(len(source.class_ids))[: rng.integers(1, count + 1)]:
        patch = cut_out(source, source.boxes_xyxy[index])
        if patch and (place := _find_place(canvas, patch, rng)):
            canvas = paste_patch(canvas, patch, place)
    return canvas


def cut_out(source: Sample, box_xyxy: NDArray[np.float32]) -> Patch | None:
    """Return the part of an image inside a box (4,), or None if too little of the box is inside the image.

    Other objects in the box are clipped to it, or dropped if too little of them remains visible.
    """
    height, width = source.image.shape[:2]
    clipped = clip_boxes(box_xyxy[None], (0, 0, width, height))
    box = clipped[0]
    if (box[2:] - box[:2] < MIN_SIDE_PX).any() or area_fraction(clipped, box_xyxy[None])[0] < MIN_VISIBLE:
        return None
    inner = (int(np.floor(box[0])), int(np.floor(box[1])), int(np.ceil(box[2])), int(np.ceil(box[3])))
    left, top = max(0, inner[0] - SOFT_EDGE_PX), max(0, inner[1] - SOFT_EDGE_PX)
    right, bottom = min(width, inner[2] + SOFT_EDGE_PX), min(height, inner[3] + SOFT_EDGE_PX)
    solid = _moved(inner, (-left, -top))
    content = Placed.through(solid, source, source.image[top:bottom, left:right], (-left, -top))
    return Patch(without_hidden(content), solid)


def paste_patch(canvas: Placed, patch: Patch, left_top: Offset) -> Placed:
    """Return the canvas with a patch pasted at left_top; boxes of covered objects shrink or are dropped.

    The patch at left_top must be inside the canvas.
    """
    left, top = left_top
    height, width = patch.content.image.shape[:2]
    below = canvas.image[top : top + height, left : left + width].astype(np.float32)
    blended = below + _opacity((height, width), patch.solid) * (patch.content.image - below)
    image = canvas.image.copy()
    image[top : top + height, left : left + width] = np.round(blended)
    offset = np.array([left, top, left, top], dtype=np.float32)
    pasted = replace(
        patch.content,
        boxes_xyxy=patch.content.boxes_xyxy + offset,
        ignored_xyxy=patch.content.ignored_xyxy + offset,
    )
    return Placed.joined(image, [cover(canvas, _moved(patch.solid, left_top)), pasted])


def cover(placed: Placed, window: Window) -> Placed:
    """Return an image with its boxes changed as if something covered a window of it; pixels do not change.

    An object's visible fraction falls by the covered share. If the window covers a whole side of a box, the
    box shrinks to the uncovered part. Objects of which too little remains visible are dropped.
    """
    boxes = placed.boxes_xyxy
    visible = placed.visible * (1 - area_fraction(clip_boxes(boxes, window), boxes))
    low, high = boxes[:, :2], boxes[:, 2:]  # (N, 2) x and y
    first, last = np.array(window[:2], dtype=np.float32), np.array(window[2:], dtype=np.float32)
    reaches_across = ((first <= low) & (last >= high))[:, ::-1]  # along x, the window spans the box's height
    cuts_low = reaches_across & (first <= low) & (last > low)
    cuts_high = reaches_across & (last >= high) & (first < high)
    shrunk = np.concatenate([np.where(cuts_low, last, low), np.where(cuts_high, first, high)], axis=1)
    return without_hidden(replace(placed, boxes_xyxy=shrunk, visible=visible))


def _find_place(canvas: Placed, patch: Patch, rng: np.random.Generator) -> Offset | None:
    """Return left and top of a random place where the patch covers at most MAX_HIDDEN of any object.

    Returns None if the patch is larger than the canvas, or if PLACES_TRIED random places do not fit.
    """
    free_y, free_x = np.subtract(canvas.image.shape[:2], patch.content.image.shape[:2])
    if free_x < 0 or free_y < 0:
        return None
    for _ in range(PLACES_TRIED):
        left_top = int(rng.integers(free_x + 1)), int(rng.integers(free_y + 1))
        window = _moved(patch.solid, left_top)
        hidden = area_fraction(clip_boxes(canvas.boxes_xyxy, window), canvas.boxes_xyxy)
        if (hidden <= MAX_HIDDEN).all():
            return left_top
    return None


def _moved(window: Window, left_top: Offset) -> Window:
    left, top = left_top
    return window[0] + left, window[1] + top, window[2] + left, window[3] + top


def _opacity(patch_hw: tuple[int, int], solid: Window) -> NDArray[np.float32]:
    """Return the opacity of a patch, (h, w, 1).

    It is 1 in the window `solid`, and falls linearly across the border around this window.
    """
    rows, columns = (
        np.interp(np.arange(side), [first - FADE_PX, first, last - 1, last - 1 + FADE_PX], [0, 1, 1, 0])
        for side, first, last in zip(patch_hw, (solid[1], solid[0]), (solid[3], solid[2]), strict=True)
    )
    return np.minimum(rows[:, None], columns).astype(np.float32)[..., None]
