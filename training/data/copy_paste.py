"""Copies objects of one image onto another, by their boxes: the data have no masks.

Source: Ghiasi et al. 2020, arXiv:2012.07177. A box brings its background along, so that here objects keep off
one another (there they may cover each other) and fade out at their edges, where a seam would say "object".
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

MAX_HIDDEN = 0.3  # share of an object's box that one pasted on it may cover
MAX_OBJECTS = 8  # pasted onto one image; a crowd would cost time and find no place
PLACES_TRIED = 10  # for each object; then it is left out
SOFT_EDGE_PX = 4  # around the box, over which what is pasted fades out


@dataclass(frozen=True)
class Patch:
    """One object cut out of its image, with a border around it and all that lies within."""

    content: Placed  # in the patch's own pixels; an object that reaches out of `solid` is cut there
    solid: Window  # the object's box in whole pixels: what is pasted as it is


def paste_objects(canvas: Placed, source: Sample, rng: np.random.Generator) -> Placed:
    """Paste some of an image's objects where they fit.

    Args:
        canvas: what is pasted onto; not changed, but returned itself where nothing fits.
        source: the image they are cut out of, at the scale at which they shall appear.
    """
    count = min(len(source.class_ids), MAX_OBJECTS)
    if count == 0:
        return canvas
    for index in rng.permutation(len(source.class_ids))[: rng.integers(1, count + 1)]:
        patch = cut_out(source, source.boxes_xyxy[index])
        place = None if patch is None else _find_place(canvas, patch, rng)
        if patch is not None and place is not None:
            canvas = paste_patch(canvas, patch, place)
    return canvas


def cut_out(source: Sample, box_xyxy: NDArray[np.float32]) -> Patch | None:
    """Return the part of an image in a box (4,); None where too little of that is in the image.

    Of other objects that reach into the box it keeps what a mosaic's cut would keep.
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
    """Put a patch on a canvas, which it must fit into; what it covers is cut by the rule of `cover`."""
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
    """Return the objects of a canvas after a window of it was covered; the image is left as it is.

    An object loses the covered share of what was visible of it. Its box shrinks to what is left where the
    window cuts off a whole side, and stays where only a corner or the middle is covered. Objects of which too
    little is left are dropped.
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
    """Return left and top of a place where the patch hides no object too much; None if tries find none."""
    room_y, room_x = (
        whole - part
        for whole, part in zip(canvas.image.shape[:2], patch.content.image.shape[:2], strict=True)
    )
    if room_x < 0 or room_y < 0:
        return None
    for _ in range(PLACES_TRIED):
        left_top = int(rng.integers(room_x + 1)), int(rng.integers(room_y + 1))
        window = _moved(patch.solid, left_top)
        hidden = area_fraction(clip_boxes(canvas.boxes_xyxy, window), canvas.boxes_xyxy)
        if (hidden <= MAX_HIDDEN).all():
            return left_top
    return None


def _moved(window: Window, left_top: Offset) -> Window:
    left, top = left_top
    return window[0] + left, window[1] + top, window[2] + left, window[3] + top


def _opacity(patch_hw: tuple[int, int], solid: Window) -> NDArray[np.float32]:
    """Return (h, w, 1): 1 in the solid window, falling in equal steps to its border's end."""
    along = []
    for side, first, last in zip(patch_hw, (solid[1], solid[0]), (solid[3], solid[2]), strict=True):
        pixel = np.arange(side)
        along.append(np.maximum(first - pixel, pixel - (last - 1)).clip(min=0))  # 0 inside, 1 beside it
    distance = np.maximum(along[0][:, None], along[1][None, :])
    return (1 - distance / (SOFT_EDGE_PX + 1)).astype(np.float32)[..., None]
