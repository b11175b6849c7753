"""Changes masks, keypoints and oriented boxes when their image is changed.

Coordinates refer to pixel edges: pixel 0 extends from 0 to 1. OpenCV's coordinates refer to pixel centres:
the centre of pixel 0 is at 0.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.masks import Mask
from training.errors import DatasetError
from training.skeleton import Skeleton

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels
HALF = 128  # a resampled pixel belongs to a mask if at least half of it does

# The order of the corners in a mirrored image, by axis. Mirroring reverses the direction in which they run;
# these orders restore it, and begin where the corner that was top left before the rotation belongs.
MIRRORED_CORNERS = {0: (3, 2, 1, 0), 1: (1, 0, 3, 2)}

Values = TypeVar("Values", tuple[Mask, ...], NDArray[np.float32])


class Shaped(Protocol):
    """Objects with masks, keypoints or oriented boxes; Sample documents the fields."""

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """Return the class of each object, (N,)."""
        ...

    @property
    def masks(self) -> tuple[Mask, ...] | None:
        """Return the mask of each object."""
        ...

    @property
    def keypoints(self) -> NDArray[np.float32] | None:
        """Return the keypoints, (N, P, 3)."""
        ...

    @property
    def corners(self) -> NDArray[np.float32] | None:
        """Return the corners of oriented boxes, (N, 4, 2)."""
        ...


class Shapes(NamedTuple):
    """The masks, keypoints and oriented boxes of N objects; Sample documents the fields."""

    masks: tuple[Mask, ...] | None
    keypoints: NDArray[np.float32] | None  # (N, P, 3)
    corners: NDArray[np.float32] | None  # (N, 4, 2)

    @classmethod
    def of(cls, objects: Shaped) -> "Shapes":
        """Return the shapes of the objects of a sample or of an image that is being composed."""
        return cls(objects.masks, objects.keypoints, objects.corners)

    @classmethod
    def joined(cls, parts: Sequence[Shaped]) -> "Shapes":
        """Return the shapes of all parts, in order.

        Raises:
            DatasetError: the objects of some parts have masks, keypoints or corners, but the objects of other
                parts do not.
        """
        masks = _all_or_none([(part.masks, len(part.class_ids)) for part in parts], "masks")
        keypoints = _all_or_none([(part.keypoints, len(part.class_ids)) for part in parts], "keypoints")
        corners = _all_or_none([(part.corners, len(part.class_ids)) for part in parts], "corners")
        return cls(
            None if masks is None else tuple(mask for part in masks for mask in part),
            None if keypoints is None else np.concatenate(keypoints),
            None if corners is None else np.concatenate(corners),
        )

    def kept(self, keep: NDArray[np.bool_]) -> "Shapes":
        """Return the shapes of the objects for which `keep` (N,) is true."""
        return Shapes(
            None if self.masks is None else tuple(m for m, k in zip(self.masks, keep, strict=True) if k),
            None if self.keypoints is None else self.keypoints[keep],
            None if self.corners is None else self.corners[keep],
        )

    def moved(self, offset_xy: tuple[int, int]) -> "Shapes":
        """Return the shapes moved by whole pixels."""
        left, top = offset_xy
        masks = self.masks
        if masks is not None:
            masks = tuple(Mask(mask.left + left, mask.top + top, mask.bitmap) for mask in masks)
        return self._points_mapped(np.array([[1, 0, left], [0, 1, top]], dtype=np.float64))._replace(
            masks=masks
        )

    def mapped(self, affine: NDArray[np.float64]) -> "Shapes":
        """Return the shapes after an affine map (2, 3) of pixel-edge coordinates; nothing is cut off."""
        masks = self.masks
        if masks is not None:
            masks = tuple(_mapped_mask(mask, affine) for mask in masks)
        return self._points_mapped(affine)._replace(masks=masks)

    def scaled(self, scale: float, source_hw: tuple[int, int], target_hw: tuple[int, int]) -> "Shapes":
        """Return the shapes in a scaled image.

        Points are multiplied by `scale`, like boxes. Masks are resized to the size of the scaled image. This
        size is rounded to whole pixels, so it differs a little from the exact product.
        """
        masks = self.masks
        if masks is not None and source_hw != target_hw:
            factors = np.diag([target_hw[1] / source_hw[1], target_hw[0] / source_hw[0]])
            affine = np.column_stack([factors, np.zeros(2)])
            masks = tuple(_cut_mask(_mapped_mask(m, affine), (0, 0, *target_hw[::-1])) for m in masks)
        return self._points_mapped(np.array([[scale, 0, 0], [0, scale, 0]]))._replace(masks=masks)

    def mirrored(self, side: int, axis: int, skeleton: Skeleton | None) -> "Shapes":
        """Return the shapes of a mirrored image: axis 1 swaps left and right, axis 0 top and bottom.

        Paired keypoints, such as left and right hand, change places for either axis, because in any mirrored
        image a left hand looks like a right hand.

        Args:
            side: width of the image for axis 1, height for axis 0.
            skeleton: the keypoints' pairs; not used if there are no keypoints.

        Raises:
            DatasetError: there are keypoints, and the skeleton is missing or has another number of keypoints.
        """
        masks, keypoints, corners = self
        along = 1 - axis  # position of the changed coordinate in (x, y)
        if masks is not None:
            masks = tuple(_mirrored_mask(mask, side, axis) for mask in masks)
        if keypoints is not None:
            pairs = _pairs(skeleton, keypoints.shape[1])
            keypoints = keypoints[:, pairs]  # a copy
            keypoints[..., along] = np.where(keypoints[..., 2] > 0, side - keypoints[..., along], 0)
        if corners is not None:
            corners = corners[:, MIRRORED_CORNERS[axis]]  # a copy
            corners[..., along] = side - corners[..., along]
        return Shapes(masks, keypoints, corners)

    def cut(
        self, window: Window, boxes_xyxy: NDArray[np.float32], share: NDArray[np.float32], *, turned: bool
    ) -> tuple["Shapes", NDArray[np.float32], NDArray[np.float32]]:
        """Return the part of the shapes inside a window, with the visible boxes (N, 4) and shares (N,).

        Masks are cut off at the window, and box and share are computed from the remaining pixels. Keypoints
        outside the window become unlabelled. Oriented boxes stay whole, because a model is to find the whole
        box. Their share is the visible share of the oriented box's own area, not of the upright box around
        it, and is 0 if the centre of the oriented box is outside the window.

        Args:
            boxes_xyxy: (N, 4) the boxes, already cut off at the window. A box stays the same if the object
                has neither mask nor corners. It also stays the same if the mask is neither cut nor turned,
                because the box of a label is more exact than whole pixels.
            share: (N,) the visible share of each box.
            turned: whether the image was just rotated; rotation makes boxes larger than their objects.
        """
        masks, keypoints, corners = self
        if corners is not None:
            around = clip_boxes(boxes_around(corners), window)
            boxes_xyxy = np.concatenate(
                [np.maximum(boxes_xyxy[:, :2], around[:, :2]), np.minimum(boxes_xyxy[:, 2:], around[:, 2:])],
                axis=1,
            )
            inside = _inside(corners.mean(axis=1), window)
            share = (visible_shares(corners, window) * inside).astype(np.float32)
        if keypoints is not None:
            keypoints = keypoints * (_inside(keypoints[..., :2], window) & (keypoints[..., 2] > 0))[..., None]
        if masks is not None:
            before, masks = masks, tuple(_cut_mask(mask, window) for mask in masks)
            boxes_xyxy, share = seen(before, masks, boxes_xyxy, share, turned=turned)
        return Shapes(masks, keypoints, corners), boxes_xyxy, share

    def _points_mapped(self, affine: NDArray[np.float64]) -> "Shapes":
        keypoints, corners = self.keypoints, self.corners
        if keypoints is not None:
            labelled = keypoints[..., 2:] > 0
            mapped = np.where(labelled, keypoints[..., :2] @ affine[:, :2].T + affine[:, 2], 0)
            keypoints = np.concatenate([mapped, keypoints[..., 2:]], axis=2).astype(np.float32)
        if corners is not None:
            corners = (corners @ affine[:, :2].T + affine[:, 2]).astype(np.float32)
        return Shapes(self.masks, keypoints, corners)


def seen(
    before: Sequence[Mask],
    after: Sequence[Mask],
    boxes_xyxy: NDArray[np.float32],
    share: NDArray[np.float32],
    *,
    turned: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the boxes (N, 4) and visible shares (N,) of objects whose masks have lost pixels.

    If a mask had no pixels before, the object keeps its box and share. Shapes.cut explains `turned`.
    """
    boxes_xyxy, share = boxes_xyxy.copy(), share.copy()
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        whole, left = np.count_nonzero(old.bitmap), np.count_nonzero(new.bitmap)
        if whole:
            share[index] = left / whole
            if left and (turned or left < whole):
                boxes_xyxy[index] = tight_box(new)
    return boxes_xyxy, share


def tight_box(mask: Mask) -> NDArray[np.float32]:
    """Return the smallest box (4,) around the pixels of a mask; the mask must have a pixel."""
    rows, columns = np.flatnonzero(mask.bitmap.any(axis=1)), np.flatnonzero(mask.bitmap.any(axis=0))
    ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return np.array(ends, dtype=np.float32) + np.array([mask.left, mask.top] * 2, dtype=np.float32)


def boxes_around(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the axis-aligned boxes (N, 4) around the corners (N, 4, 2) of oriented boxes."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def visible_shares(corners: NDArray[np.float32], window: Window) -> NDArray[np.float64]:
    """Return for each oriented box which share of its area is inside a window, (N,); 0 if it has no area."""
    shares = np.zeros(len(corners))
    for index, polygon in enumerate(corners.astype(np.float64)):
        if whole := _area(polygon):
            shares[index] = _area(_clipped(polygon, window)) / whole
    return shares


def clip_boxes(boxes_xyxy: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Return boxes (N, 4) clipped to a window; a box wholly outside gets an area of 0."""
    low, high = np.array(window, dtype=np.float32).reshape(2, 2)
    return np.clip(boxes_xyxy, np.tile(low, 2), np.tile(high, 2))


def to_pixel_centres(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert an affine map (2, 3) of pixel-edge coordinates to the same map of OpenCV's coordinates."""
    centres = affine.copy()
    centres[:, 2] += affine[:, :2] @ [0.5, 0.5] - 0.5
    return centres


def _all_or_none(parts: Sequence[tuple[Values | None, int]], name: str) -> list[Values] | None:
    given = [values for values, _ in parts if values is not None]
    if not given:
        return None
    if any(values is None and count for values, count in parts):
        raise DatasetError(f"some images have {name}, but the objects of others have none; label them alike")
    return given


def _pairs(skeleton: Skeleton | None, count: int) -> list[int]:
    if skeleton is None:
        raise DatasetError("an image with keypoints cannot be mirrored without a skeleton; give flip_ids")
    if len(skeleton.flip_ids) != count:
        raise DatasetError(f"{count} keypoints on an object, but {len(skeleton.flip_ids)} in the skeleton")
    return list(skeleton.flip_ids)


def _inside(points: NDArray[np.float32], window: Window) -> NDArray[np.bool_]:
    low, high = np.array(window).reshape(2, 2)
    return np.asarray(((points >= low) & (points <= high)).all(axis=-1))


def _mapped_mask(mask: Mask, affine: NDArray[np.float64]) -> Mask:
    """Return a mask after an affine map; the window of the result holds all its pixels."""
    height, width = mask.bitmap.shape
    if not mask.bitmap.any():
        return Mask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    ends = np.array([[mask.left + x, mask.top + y] for x in (0, width) for y in (0, height)])
    mapped = ends @ affine[:, :2].T + affine[:, 2]
    left, top = np.floor(mapped.min(axis=0)).astype(int)
    right, bottom = np.ceil(mapped.max(axis=0)).astype(int)
    within = affine.copy()  # from the old window to the new one
    within[:, 2] += affine[:, :2] @ [mask.left, mask.top] - [left, top]
    grey = mask.bitmap.astype(np.uint8) * 255
    size = max(1, right - left), max(1, bottom - top)
    resampled = cv2.warpAffine(grey, to_pixel_centres(within), size, flags=cv2.INTER_LINEAR)
    return Mask(int(left), int(top), np.asarray(resampled >= HALF))


def _cut_mask(mask: Mask, window: Window) -> Mask:
    height, width = mask.bitmap.shape
    x1, y1 = max(window[0], mask.left), max(window[1], mask.top)
    x2, y2 = max(x1, min(window[2], mask.left + width)), max(y1, min(window[3], mask.top + height))
    return Mask(x1, y1, mask.bitmap[y1 - mask.top : y2 - mask.top, x1 - mask.left : x2 - mask.left])


def _mirrored_mask(mask: Mask, side: int, axis: int) -> Mask:
    height, width = mask.bitmap.shape
    bitmap = np.flip(mask.bitmap, axis)
    if axis == 1:
        return Mask(side - mask.left - width, mask.top, bitmap)
    return Mask(mask.left, side - mask.top - height, bitmap)


def _clipped(polygon: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Return the part of a convex polygon (V, 2) inside a window (algorithm: Sutherland and Hodgman 1974)."""
    for axis, sign, limit in ((0, 1, window[0]), (1, 1, window[1]), (0, -1, window[2]), (1, -1, window[3])):
        depth = sign * (polygon[:, axis] - limit)  # at least 0 inside
        points = []
        for here, point in enumerate(polygon):
            last = here - 1
            if (depth[here] >= 0) != (depth[last] >= 0):
                at = depth[last] / (depth[last] - depth[here])
                points.append(polygon[last] + at * (point - polygon[last]))
            if depth[here] >= 0:
                points.append(point)
        if not points:
            return np.zeros((0, 2))
        polygon = np.array(points)
    return polygon


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
