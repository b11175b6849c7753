"""Copy-paste augmentation: copies objects from one image onto another.

Source: Ghiasi et al. 2020, arXiv:2012.07177. In the paper, objects have masks, and exactly the pixels of a
mask are pasted. This module does the same for objects that have masks. For an object without a mask, it
pastes the contents of the box. A box also contains background, and a visible seam would show the model where
an object was pasted. Therefore pasted boxes fade out at their edges. Unlike in the paper, a pasted object
may cover at most MAX_HIDDEN of any other object.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.augmentation.mosaic import (
    MIN_SIDE_PX,
    MIN_VISIBLE,
    Offset,
    Placed,
    area_fraction,
    without_hidden,
)
from training.data.augmentation.shapes import Shapes, Window, clip_boxes, seen, tight_box
from training.data.masks import Mask
from training.data.sample import Sample, no_boxes

MAX_HIDDEN = 0.3  # largest share of another object that a pasted object may cover
MAX_OBJECTS = 8  # most objects pasted onto one image; more would take time and seldom fit
PLACES_TRIED = 10  # for each object; if none fits, the object is left out
SOFT_EDGE_PX = 4  # width of the border around the box over which the patch fades out
FADE_PX = SOFT_EDGE_PX + 1  # distance from the box at which nothing of the patch is visible


@dataclass(frozen=True)
class Patch:
    """An object cut out of its image.

    If `outline` is set, the patch pastes only the pixels and labels of the object itself. If `outline` is
    None, it pastes all pixels in and around the object's box, and all labels in the box.
    """

    content: Placed  # in the patch's own pixels; boxes are clipped to `solid`
    solid: Window  # the object's box in whole pixels, pasted at full opacity
    outline: NDArray[np.bool_] | None = None  # (h, w) pixels of the object, at the size of content.image


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
        if source.masks is not None and source.masks[index].bitmap.any():
            patch = cut_outline(source, int(index))
        else:
            patch = cut_out(source, source.boxes_xyxy[index])
        if patch and (place := _find_place(canvas, patch, rng)):
            canvas = paste_patch(canvas, patch, place)
    return canvas


def cut_out(source: Sample, box_xyxy: NDArray[np.float32]) -> Patch | None:
    """Return the part of an image inside a box (4,), or None if too little of the box is inside the image.

    The other objects are clipped to the box. Objects of which too little remains visible are dropped.
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


def cut_outline(source: Sample, index: int) -> Patch | None:
    """Return the pixels of an object's mask, or None if too little of the object is inside the image."""
    assert source.masks is not None
    height, width = source.image.shape[:2]
    alone = np.arange(len(source.class_ids)) == index
    visible = Mask.of(source.masks[index].on((height, width)))
    if not visible.bitmap.any():
        return None
    left, top, right, bottom = (int(end) for end in tight_box(visible))
    solid = (0, 0, right - left, bottom - top)
    single = replace(
        source,
        boxes_xyxy=source.boxes_xyxy[alone],
        class_ids=source.class_ids[alone],
        ignored_xyxy=no_boxes(),  # only pixels of the object are pasted, so no ignored region comes along
        ignored_class_ids=None,
        ignored_masks=None,
        areas=None,
        **Shapes.of(source).kept(alone)._asdict(),
    )
    content = without_hidden(
        Placed.through(solid, single, source.image[top:bottom, left:right], (-left, -top))
    )
    return Patch(content, solid, visible.bitmap) if len(content.class_ids) else None


def paste_patch(canvas: Placed, patch: Patch, left_top: Offset) -> Placed:
    """Return the canvas with a patch pasted at left_top, without the parts of objects that it hides.

    The whole patch must lie inside the canvas.
    """
    left, top = left_top
    height, width = patch.content.image.shape[:2]
    below = canvas.image[top : top + height, left : left + width].astype(np.float32)
    if patch.outline is None:
        opacity = _opacity((height, width), patch.solid)
    else:
        opacity = patch.outline.astype(np.float32)[..., None]
    blended = below + opacity * (patch.content.image - below)
    image = canvas.image.copy()
    image[top : top + height, left : left + width] = np.round(blended)
    offset = np.array([left, top, left, top], dtype=np.float32)
    pasted = replace(
        patch.content,
        boxes_xyxy=patch.content.boxes_xyxy + offset,
        ignored_xyxy=patch.content.ignored_xyxy + offset,
        **Shapes.of(patch.content).moved(left_top)._asdict(),
    )
    return Placed.joined(image, [cover(canvas, *_covered(patch, left_top)), pasted])


def cover(placed: Placed, window: Window, outline: Mask | None = None) -> Placed:
    """Return an image whose labels are changed as if something covered a part of it; its pixels stay.

    An object's visible fraction falls by the covered share, and its mask loses the covered pixels. Covered
    keypoints become hidden keypoints. If all pixels of the window are covered and the window contains a whole
    side of a box, the box shrinks to the uncovered part. Oriented boxes and the boxes around them do not
    shrink. Objects of which too little remains visible are dropped.

    Args:
        window: the rectangle that holds everything that is covered.
        outline: the covered pixels inside the window; None: all pixels of the window are covered.
    """
    hidden = hidden_shares(placed, window, outline)
    boxes, visible = placed.boxes_xyxy, placed.visible * (1 - hidden)
    if outline is None and placed.corners is None:
        boxes = _shrunk(boxes, window)
    masks, keypoints = placed.masks, placed.keypoints
    area = _area_mask(window) if outline is None else outline
    if masks is not None:
        before, masks = masks, tuple(_without(mask, area) for mask in masks)
        # An object with a mask shrinks to its pixels. Its share is known already.
        boxes, _ = seen(before, masks, _unless_masked(before, placed.boxes_xyxy, boxes), visible)
    if keypoints is not None:
        points = np.floor(keypoints[..., :2]).astype(int)
        covered = area.on(placed.image.shape[:2])
        x, y = (np.clip(points[..., axis], 0, covered.shape[1 - axis] - 1) for axis in (0, 1))
        keypoints = keypoints.copy()
        keypoints[..., 2] = np.where(covered[y, x], np.minimum(keypoints[..., 2], 1), keypoints[..., 2])
    return without_hidden(
        replace(placed, boxes_xyxy=boxes, visible=visible, masks=masks, keypoints=keypoints)
    )


def hidden_shares(placed: Placed, window: Window, outline: Mask | None) -> NDArray[np.float32]:
    """Return for each object what share of its visible part something in a window would cover, (N,).

    For an object with mask pixels, this is a share of these pixels; otherwise, it is a share of the box's
    area.
    """
    boxes = placed.boxes_xyxy
    shares = area_fraction(clip_boxes(boxes, window), boxes)
    area = _area_mask(window) if outline is None else outline
    for index in range(len(boxes)):
        if placed.masks is not None and (whole := np.count_nonzero(placed.masks[index].bitmap)):
            shares[index] = 1 - np.count_nonzero(_without(placed.masks[index], area).bitmap) / whole
        elif outline is not None and shares[index] > 0:
            x1, y1, x2, y2 = (int(end) for end in np.round(boxes[index]))
            inside = Mask(outline.left - x1, outline.top - y1, outline.bitmap).on((y2 - y1, x2 - x1))
            shares[index] = inside.mean() if inside.size else 0
    return shares


def _shrunk(boxes: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Return boxes (N, 4) without what a window covers; a box shrinks only if a whole side is covered."""
    low, high = boxes[:, :2], boxes[:, 2:]  # (N, 2) x and y
    first, last = np.array(window[:2], dtype=np.float32), np.array(window[2:], dtype=np.float32)
    reaches_across = ((first <= low) & (last >= high))[:, ::-1]  # along x, the window spans the box's height
    cuts_low = reaches_across & (first <= low) & (last > low)
    cuts_high = reaches_across & (last >= high) & (first < high)
    return np.concatenate([np.where(cuts_low, last, low), np.where(cuts_high, first, high)], axis=1)


def _unless_masked(
    masks: tuple[Mask, ...], boxes: NDArray[np.float32], shrunk: NDArray[np.float32]
) -> NDArray[np.float32]:
    masked = np.array([mask.bitmap.any() for mask in masks], dtype=np.bool_)
    return np.where(masked[:, None], boxes, shrunk)


def _area_mask(window: Window) -> Mask:
    x1, y1, x2, y2 = window
    return Mask(x1, y1, np.ones((y2 - y1, x2 - x1), dtype=np.bool_))


def _without(mask: Mask, area: Mask) -> Mask:
    """Return a mask without the pixels of `area`."""
    inside = Mask(area.left - mask.left, area.top - mask.top, area.bitmap).on(mask.bitmap.shape)
    return Mask(mask.left, mask.top, mask.bitmap & ~inside)


def _covered(patch: Patch, left_top: Offset) -> tuple[Window, Mask | None]:
    """Return what a patch at left_top covers: the arguments `window` and `outline` of `cover`."""
    outline = None if patch.outline is None else Mask(*left_top, patch.outline)
    return _moved(patch.solid, left_top), outline


def _find_place(canvas: Placed, patch: Patch, rng: np.random.Generator) -> Offset | None:
    """Return left and top of a random place where the patch covers at most MAX_HIDDEN of any object.

    The result is None if the patch is larger than the canvas, or if none of PLACES_TRIED random places fits.
    """
    free_y, free_x = np.subtract(canvas.image.shape[:2], patch.content.image.shape[:2])
    if free_x < 0 or free_y < 0:
        return None
    for _ in range(PLACES_TRIED):
        left_top = int(rng.integers(free_x + 1)), int(rng.integers(free_y + 1))
        if (hidden_shares(canvas, *_covered(patch, left_top)) <= MAX_HIDDEN).all():
            return left_top
    return None


def _moved(window: Window, left_top: Offset) -> Window:
    left, top = left_top
    return window[0] + left, window[1] + top, window[2] + left, window[3] + top


def _opacity(patch_hw: tuple[int, int], solid: Window) -> NDArray[np.float32]:
    """Return the opacity of each pixel of a patch, (h, w, 1).

    The opacity is 1 in the window `solid`, and falls linearly across the border around this window.
    """
    rows, columns = (
        np.interp(np.arange(side), [first - FADE_PX, first, last - 1, last - 1 + FADE_PX], [0, 1, 1, 0])
        for side, first, last in zip(patch_hw, (solid[1], solid[0]), (solid[3], solid[2]), strict=True)
    )
    return np.minimum(rows[:, None], columns).astype(np.float32)[..., None]
