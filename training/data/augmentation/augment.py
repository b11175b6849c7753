"""Random augmentation of a training image and its labels.

Box coordinates refer to pixel edges: pixel 0 extends from 0 to 1. OpenCV's coordinates refer to pixel
centres: the centre of pixel 0 is at 0.
"""

import math
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import PAD_VALUE, AugmentConfig
from training.data.augmentation.copy_paste import paste_objects
from training.data.augmentation.mosaic import Placed, area_fraction, join_four, without_hidden
from training.data.augmentation.shapes import Shapes, Window, clip_boxes, to_pixel_centres
from training.data.images.letterbox import letterbox_image, scale_by, scale_sample
from training.data.sample import Dataset, Sample
from training.skeleton import Skeleton

# Both parameters of the beta distribution of mixup ratios. The objects of both images are labelled, so both
# images must be clearly visible: with this value, 95 % of all ratios are between 0.38 and 0.62.
MIXUP_BETA = 32.0

Shown = TypeVar("Shown", Placed, Sample)


def augment(
    dataset: Dataset,
    index: int,
    rng: np.random.Generator,
    config: AugmentConfig,
    input_hw: tuple[int, int],
    mosaic: bool,
) -> Sample:
    """Return image `index` of a data set, randomly augmented, at the size of the model input.

    All random numbers come from rng. If the probability of mixup or copy-paste is zero, no random numbers
    are drawn for it. So switching it off does not change the other random choices.

    Args:
        input_hw: height and width of the model input, in pixels.
        mosaic: whether mosaic, mixup and copy-paste are applied as `config` says. They are switched off in
            the last epochs of a run.

    Raises:
        DatasetError: an image cannot be loaded, or it must be mirrored and has keypoints but no skeleton.
    """
    first = dataset.load(index)
    shown = _compose(dataset, first, rng, config, input_hw, mosaic)
    if mosaic and config.mixup and rng.random() < config.mixup:
        other = dataset.load(int(rng.integers(len(dataset))))
        ratio = rng.beta(MIXUP_BETA, MIXUP_BETA)
        shown = mix(shown, _compose(dataset, other, rng, config, input_hw, mosaic), ratio)
    shown = replace(shown, image=shift_colours(shown.image, rng, config))
    if rng.random() < config.flip_horizontal:
        shown = flip(shown, 1, dataset.skeleton)
    if rng.random() < config.flip_vertical:
        shown = flip(shown, 0, dataset.skeleton)
    image = np.ascontiguousarray(shown.image)
    labels = Shapes.of(shown)._asdict()
    return Sample(image, shown.boxes_xyxy, shown.class_ids, first.name, shown.ignored_xyxy, **labels)


def _compose(
    dataset: Dataset,
    first: Sample,
    rng: np.random.Generator,
    config: AugmentConfig,
    input_hw: tuple[int, int],
    mosaic: bool,
) -> Placed:
    """Return `first`, alone or in a mosaic of four images, after a random affine map and copy-paste."""
    if mosaic and rng.random() < config.mosaic:
        others = [dataset.load(int(i)) for i in rng.integers(len(dataset), size=3)]
        centre_xy = tuple(int(rng.integers(side // 2, side + side // 2 + 1)) for side in input_hw[::-1])
        placed = join_four([first, *others], (centre_xy[0], centre_xy[1]), input_hw)
    else:
        scaled = scale_sample(first, input_hw)
        image, at = letterbox_image(scaled.image, input_hw)
        placed = Placed.through((0, 0, input_hw[1], input_hw[0]), scaled, image, (at.left, at.top))
    shown = warp(placed, draw_affine(rng, config, placed.image.shape, input_hw), input_hw)
    if mosaic and config.copy_paste and rng.random() < config.copy_paste:
        source = dataset.load(int(rng.integers(len(dataset))))  # may be the image itself
        shaken = _shaken(source, rng, config, input_hw, dataset.skeleton)
        shown = paste_objects(shown, shaken, rng)
    return shown


def _shaken(
    source: Sample,
    rng: np.random.Generator,
    config: AugmentConfig,
    input_hw: tuple[int, int],
    skeleton: Skeleton | None,
) -> Sample:
    """Scale and mirror `source` at random; copy-paste will copy objects from the result."""
    shaken = scale_by(scale_sample(source, input_hw), rng.uniform(1 - config.scale, 1 + config.scale))
    return flip(shaken, 1, skeleton) if rng.random() < config.flip_horizontal else shaken


def mix(one: Placed, other: Placed, ratio: float) -> Placed:
    """Return a blend of two images of the same size, with the objects of both.

    The pixels are ratio × one + (1 - ratio) × other.

    Source: Zhang et al. 2017, arXiv:1710.09412. The paper weights labels by the ratio; here, every label has
    full weight.
    """
    image = cv2.addWeighted(one.image, ratio, other.image, 1 - ratio, 0.0)
    return Placed.joined(image.astype(np.uint8, copy=False), [one, other])


def draw_affine(
    rng: np.random.Generator, config: AugmentConfig, source_shape: tuple[int, ...], input_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return a random affine map (2, 3) that scales, rotates and moves an image.

    The map applies to pixel-edge coordinates. It moves the image's centre close to the centre of the model
    input.
    """
    scale = rng.uniform(1 - config.scale, 1 + config.scale)
    angle = math.radians(rng.uniform(-config.degrees, config.degrees))
    shift_x, shift_y = rng.uniform(-config.translate, config.translate, size=2)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    source_centre = np.array([source_shape[1] / 2, source_shape[0] / 2])
    target_centre = np.array([(0.5 + shift_x) * input_hw[1], (0.5 + shift_y) * input_hw[0]])
    return np.column_stack([turn, target_centre - turn @ source_centre])


def warp(placed: Placed, affine: NDArray[np.float64], input_hw: tuple[int, int]) -> Placed:
    """Apply an affine map to an image and its labels; drop objects of which too little remains visible."""
    height, width = input_hw
    image = cv2.warpAffine(
        placed.image,
        to_pixel_centres(affine),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderValue=(PAD_VALUE,) * 3,
    ).astype(np.uint8, copy=False)
    whole = _enclosing(placed.boxes_xyxy, affine)
    window: Window = (0, 0, width, height)
    boxes, ignored = clip_boxes(whole, window), clip_boxes(_enclosing(placed.ignored_xyxy, affine), window)
    turned = bool(affine[0, 1] or affine[1, 0])
    mapped = Shapes.of(placed).mapped(affine)
    shapes, boxes, share = mapped.cut(window, boxes, area_fraction(boxes, whole), turned=turned)
    return without_hidden(Placed(image, boxes, placed.class_ids, placed.visible * share, ignored, *shapes))


def _enclosing(boxes_xyxy: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the axis-aligned box around each box after the affine map, (N, 4)."""
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)  # (N, 4, 2)
    mapped = corners @ affine[:, :2].T + affine[:, 2]  # (N, 4, 2)
    return np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1).astype(np.float32)


def shift_colours(
    image: NDArray[np.uint8], rng: np.random.Generator, config: AugmentConfig
) -> NDArray[np.uint8]:
    """Return the image with its hue shifted and its saturation and value multiplied, all at random."""
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


def flip(shown: Shown, axis: int, skeleton: Skeleton | None = None) -> Shown:
    """Return the image and its labels mirrored: axis 1 swaps left and right, axis 0 top and bottom.

    Raises:
        DatasetError: there are keypoints, but there is no skeleton, which says which keypoints change places.
    """
    side = shown.image.shape[axis]
    return replace(
        shown,
        image=np.flip(shown.image, axis),
        boxes_xyxy=_mirrored(shown.boxes_xyxy, side, axis),
        ignored_xyxy=_mirrored(shown.ignored_xyxy, side, axis),
        **Shapes.of(shown).mirrored(side, axis, skeleton)._asdict(),
    )


def _mirrored(boxes_xyxy: NDArray[np.float32], side: int, axis: int) -> NDArray[np.float32]:
    ends = [0, 2] if axis == 1 else [1, 3]
    mirrored = boxes_xyxy.copy()
    mirrored[:, ends] = side - boxes_xyxy[:, ends[::-1]]
    return mirrored
