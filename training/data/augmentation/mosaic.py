"""Mosaic augmentation: joins four images into one image that is twice as wide and high as the model input."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.config import PAD_VALUE
from training.data.augmentation.shapes import Shapes, Window, clip_boxes
from training.data.images.letterbox import scale_sample
from training.data.masks import Mask
from training.data.sample import Sample, no_boxes

MIN_VISIBLE = 0.1  # smallest visible fraction of an object's area at which the object stays labelled
MIN_SIDE_PX = 2.0

Offset = tuple[int, int]  # x, y


@dataclass(frozen=True)
class Placed:
    """An image with its objects, and the visible fraction of each object; Sample documents other fields.

    Each step that cuts or covers an object, such as the mosaic or the affine map, leaves a fraction of it
    visible. `visible` is the product of these fractions.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    boxes_xyxy: NDArray[np.float32]  # (N, 4) clipped to the visible part
    class_ids: NDArray[np.int64]  # (N,)
    visible: NDArray[np.float32]  # (N,) 0..1, the fraction of the object's area that is not cut off
    ignored_xyxy: NDArray[np.float32] = field(default_factory=no_boxes)  # (R, 4) clipped; may have no area
    masks: tuple[Mask, ...] | None = None  # N, cut off to the visible part
    keypoints: NDArray[np.float32] | None = None  # (N, P, 3) unlabelled where they are cut off
    corners: NDArray[np.float32] | None = None  # (N, 4, 2) whole, even if they are not visible

    @classmethod
    def through(cls, window: Window, sample: Sample, image: NDArray[np.uint8], offset_xy: Offset) -> Self:
        """Return `image` with a sample's objects; these are moved by offset_xy and cut off at `window`."""
        offset = np.array([*offset_xy, *offset_xy], dtype=np.float32)
        moved = sample.boxes_xyxy + offset
        boxes, ignored = clip_boxes(moved, window), clip_boxes(sample.ignored_xyxy + offset, window)
        whole = Shapes.of(sample).moved(offset_xy)
        shapes, boxes, visible = whole.cut(window, boxes, area_fraction(boxes, moved), turned=False)
        return cls(image, boxes, sample.class_ids, visible, ignored, *shapes)

    @classmethod
    def joined(cls, image: NDArray[np.uint8], parts: Sequence[Self]) -> Self:
        """Return `image` with the objects of all parts, whose own images are not used.

        Raises:
            DatasetError: the objects of some parts have masks, keypoints or corners, but the objects of other
                parts do not.
        """
        names = ("boxes_xyxy", "class_ids", "visible", "ignored_xyxy")
        boxes, ids, visible, ignored = (
            np.concatenate([getattr(part, name) for part in parts]) for name in names
        )
        return cls(image, boxes, ids, visible, ignored, *Shapes.joined(parts))


def join_four(samples: Sequence[Sample], centre_xy: tuple[int, int], input_hw: tuple[int, int]) -> Placed:
    """Return an image (2H, 2W) with four samples around a point, each scaled to fit the model input.

    Args:
        samples: the samples at top left, top right, bottom left and bottom right of the point. Each touches
            the point with one corner.
        centre_xy: the point, in pixels of the returned image. Samples are cut off at the edge of this image.
        input_hw: (H, W), the height and width of the model input, in pixels.
    """
    canvas = np.full((2 * input_hw[0], 2 * input_hw[1], 3), PAD_VALUE, dtype=np.uint8)
    parts = []
    for quarter, sample in enumerate(samples):
        scaled = scale_sample(sample, input_hw)
        height, width = scaled.image.shape[:2]
        left = centre_xy[0] - (width if quarter % 2 == 0 else 0)
        top = centre_xy[1] - (height if quarter < 2 else 0)
        shown = paste(canvas, scaled.image, left, top)
        parts.append(Placed.through(shown, scaled, canvas, (left, top)))
    return Placed.joined(canvas, parts)


def without_hidden(placed: Placed) -> Placed:
    """Drop objects whose visible fraction is below MIN_VISIBLE or whose box has a side below MIN_SIDE_PX.

    Ignored regions without area are dropped as well.
    """
    sides = placed.boxes_xyxy[:, 2:] - placed.boxes_xyxy[:, :2]
    keep = (placed.visible >= MIN_VISIBLE) & (sides >= MIN_SIDE_PX).all(axis=1)
    return replace(
        placed,
        boxes_xyxy=placed.boxes_xyxy[keep],
        class_ids=placed.class_ids[keep],
        visible=placed.visible[keep],
        ignored_xyxy=placed.ignored_xyxy[have_area(placed.ignored_xyxy)],
        **Shapes.of(placed).kept(keep)._asdict(),
    )


def paste(canvas: NDArray[np.uint8], image: NDArray[np.uint8], left: int, top: int) -> Window:
    """Copy an image onto the canvas, cut off at the canvas's edge; return the window that the image fills."""
    x1, y1 = max(0, left), max(0, top)
    x2 = min(canvas.shape[1], left + image.shape[1])
    y2 = min(canvas.shape[0], top + image.shape[0])
    canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
    return x1, y1, x2, y2


def have_area(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each box whether its width and height are positive, (N,)."""
    return np.all(boxes_xyxy[:, 2:] > boxes_xyxy[:, :2], axis=1)


def area_fraction(part_xyxy: NDArray[np.float32], whole_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each pair of boxes the area of the part ÷ the area of the whole, (N,).

    The result is 0 if the whole has no area.
    """
    part, whole = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (part_xyxy, whole_xyxy))
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
