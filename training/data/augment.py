"""Random changes of a training image that its boxes follow.

Boxes count pixel edges: pixel 0 covers 0..1. OpenCV counts pixel centres, half a pixel later.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import PAD_VALUE, AugmentConfig
from training.data.letterbox import letterbox_sample
from training.data.mosaic import Placed, area_fraction, clip_boxes, join_four
from training.data.sample import Dataset, Sample

MIN_VISIBLE = 0.1  # an object cut to less than this is no longer one a detector should be asked to find
MIN_SIDE_PX = 2.0


def augment(
    dataset: Dataset,
    index: int,
    rng: np.random.Generator,
    config: AugmentConfig,
    input_hw: tuple[int, int],
    mosaic: bool,
) -> Sample:
    """One training sample on a canvas of input_hw; all randomness comes from rng.

    Args:
        mosaic: whether config.mosaic applies; the last epochs of a run switch it off.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    first = dataset.load(index)
    if mosaic and rng.random() < config.mosaic:
        others = [dataset.load(int(i)) for i in rng.integers(len(dataset), size=3)]
        centre_xy = tuple(int(rng.integers(side // 2, side + side // 2 + 1)) for side in input_hw[::-1])
        placed = join_four([first, *others], (centre_xy[0], centre_xy[1]), input_hw)
    else:
        boxed = letterbox_sample(first, input_hw)
        everything = np.ones(len(boxed.class_ids), dtype=np.float32)
        placed = Placed(boxed.image, boxed.boxes_xyxy, boxed.class_ids, everything)
    image, boxes_xyxy, class_ids = warp(
        placed, draw_affine(rng, config, placed.image.shape, input_hw), input_hw
    )
    image = shift_colours(image, rng, config)
    if rng.random() < config.flip_horizontal:
        image, boxes_xyxy = flip(image, boxes_xyxy, axis=1)
    if rng.random() < config.flip_vertical:
        image, boxes_xyxy = flip(image, boxes_xyxy, axis=0)
    return Sample(np.ascontiguousarray(image), boxes_xyxy, class_ids, first.name)


def draw_affine(
    rng: np.random.Generator, config: AugmentConfig, source_shape: tuple[int, ...], input_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """A (2, 3) map of pixel edges: the source's centre to near the canvas's centre, scaled and turned."""
    scale = rng.uniform(1 - config.scale, 1 + config.scale)
    angle = math.radians(rng.uniform(-config.degrees, config.degrees))
    shift_x, shift_y = rng.uniform(-config.translate, config.translate, size=2)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    source_centre = np.array([source_shape[1] / 2, source_shape[0] / 2])
    target_centre = np.array([(0.5 + shift_x) * input_hw[1], (0.5 + shift_y) * input_hw[0]])
    return np.column_stack([turn, target_centre - turn @ source_centre])


def warp(
    placed: Placed, affine: NDArray[np.float64], input_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Apply an affine map; returns image (H, W, 3), boxes (M, 4) and class ids (M,) of what is left."""
    height, width = input_hw
    centres = affine.copy()
    centres[:, 2] += affine[:, :2] @ [0.5, 0.5] - 0.5  # from pixel edges to pixel centres
    image = cv2.warpAffine(
        placed.image, centres, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PAD_VALUE,) * 3
    ).astype(np.uint8, copy=False)
    whole = _enclosing(placed.boxes_xyxy, affine)
    boxes = clip_boxes(whole, (0, 0, width, height))
    visible = placed.visible * area_fraction(boxes, whole)
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = (visible >= MIN_VISIBLE) & (sides >= MIN_SIDE_PX).all(axis=1)
    return image, boxes[keep], placed.class_ids[keep]


def _enclosing(boxes_xyxy: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """The upright box around each mapped box, (N, 4)."""
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)  # (N, 4, 2)
    mapped = corners @ affine[:, :2].T + affine[:, 2]  # (N, 4, 2)
    return np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1).astype(np.float32)


def shift_colours(
    image: NDArray[np.uint8], rng: np.random.Generator, config: AugmentConfig
) -> NDArray[np.uint8]:
    """Turn the hue, and multiply saturation and value, by random amounts."""
    limits = np.array([config.hsv_hue, config.hsv_saturation, config.hsv_value])
    hue, saturation, value = rng.uniform(-1, 1, size=3) * limits
    if not limits.any():
        return image
    level = np.arange(256, dtype=np.float64)
    table = np.empty((256, 1, 3), dtype=np.uint8)
    table[:, 0, 0] = np.round(level + 180 * hue) % 180  # OpenCV keeps hue in half degrees
    table[:, 0, 1] = np.clip(np.round(level * (1 + saturation)), 0, 255)
    table[:, 0, 2] = np.clip(np.round(level * (1 + value)), 0, 255)
    table[0, 0, 1] = 0  # grey stays grey
    shifted = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(shifted, cv2.COLOR_HSV2RGB).astype(np.uint8, copy=False)


def flip(
    image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Mirror an image (H, W, 3) and its boxes: axis 1 swaps left and right, axis 0 top and bottom."""
    low, high = (0, 2) if axis == 1 else (1, 3)
    flipped = boxes_xyxy.copy()
    flipped[:, low] = image.shape[axis] - boxes_xyxy[:, high]
    flipped[:, high] = image.shape[axis] - boxes_xyxy[:, low]
    return np.flip(image, axis), flipped
