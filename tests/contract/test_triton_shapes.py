"""Inside Triton, masks, rotated boxes and corners are computed as in the service, by code of its own."""

import math

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from shapely.geometry import Polygon

from service.pipeline.letterbox import Letterbox
from service.pipeline.masks import object_mask
from service.pipeline.rle import decode_rle, encode_rle
from service.pipeline.rotated import suppress_rotated
from service.types import Candidates
from tests.nms_modules import triton_module

INPUT_HW = (48, 64)
STRIDE = 4


@pytest.fixture(scope="module")
def masks():
    return triton_module("masks")


@pytest.fixture(scope="module")
def rotated():
    return triton_module("rotated")


@pytest.fixture(scope="module")
def suppression():
    return triton_module("suppression")


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_those_of_the_service_at_the_size_of_the_network_input(masks, seed):
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(5, 12, 16)).astype(np.float16)
    coefficients = rng.normal(size=(20, 5)).astype(np.float32)
    corners = rng.uniform(-20, 80, (20, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    boxes[:2] = [[-5, -5, 80, 60], [63.4, 40, 64, 48]]  # more than everything; the last column
    got = masks.encode_masks(coefficients, prototypes, boxes, INPUT_HW, STRIDE)
    place, pixels = Letterbox.fit(INPUT_HW, INPUT_HW), 0
    for counts, row, box in zip(got, coefficients, boxes, strict=True):
        want = object_mask(row, prototypes, box.clip(0, [64, 48, 64, 48]), place, INPUT_HW, STRIDE)
        assert counts.decode("ascii") == encode_rle(want, INPUT_HW)
        pixels += int(decode_rle(counts.decode("ascii"), INPUT_HW).sum())
    assert pixels > 2000


PATTERNS = {
    "nothing": np.zeros((5, 7), bool),
    "everything": np.ones((5, 7), bool),
    "the first pixel": np.arange(35).reshape(5, 7) == 0,
    "the last pixel": np.arange(35).reshape(5, 7) == 34,
    "columns that join": np.arange(7)[None].repeat(5, axis=0) % 3 > 0,
    "a chess board": np.indices((5, 7)).sum(axis=0) % 2 == 0,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_run_lengths_are_those_of_the_coco_api(masks, pattern):
    whole = np.zeros((60, 90), bool)
    whole[20:25, 30:37] = PATTERNS[pattern]
    for mask in (PATTERNS[pattern], whole):
        height, width = mask.shape
        got = masks.run_lengths(mask, np.arange(height), np.arange(width), (height, width))
        assert got == coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    window = masks.run_lengths(PATTERNS[pattern], np.arange(20, 25), np.arange(30, 37), (60, 90))
    assert window == coco_mask.encode(np.asfortranarray(whole, dtype=np.uint8))["counts"]


def test_long_runs_are_those_of_the_coco_api(masks):
    mask = np.zeros((2000, 3000), bool)
    mask[::2, 7] = mask[:, 2900:2950] = True
    got = masks.run_lengths(mask, np.arange(2000), np.arange(3000), (2000, 3000))
    assert got == coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def test_an_empty_window_is_an_empty_mask(masks):
    got = masks.run_lengths(np.zeros((0, 3), bool), np.arange(5, 5), np.arange(3), (10, 10))
    assert got == coco_mask.encode(np.zeros((10, 10), np.uint8, order="F"))["counts"]


def turned_boxes(seed, count):
    rng = np.random.default_rng(seed)
    centers, sizes = rng.uniform(0, 100, (count, 2)), rng.uniform(2, 60, (count, 2))
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1).astype(np.float32)
    return boxes, rng.uniform(-math.pi / 4, 3 * math.pi / 4, count).astype(np.float32)


def polygon(box, angle):
    """Return a rotated box as a polygon, by turning its corners one by one."""
    left, top, right, bottom = box.astype(float)
    x, y = (left + right) / 2, (top + bottom) / 2
    turn = complex(math.cos(angle), math.sin(angle))
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    turned = [complex(a - x, b - y) * turn + complex(x, y) for a, b in corners]
    return [(corner.real, corner.imag) for corner in turned]


def test_corners_are_in_order(rotated):
    boxes, angles = turned_boxes(0, 30)
    for corners, box, angle in zip(rotated.corners_of(boxes, angles), boxes, angles, strict=True):
        assert corners == pytest.approx(np.array(polygon(box, angle)), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_shared_areas_are_exact(rotated, seed):
    boxes, angles = turned_boxes(seed, 60)
    boxes[1], angles[1] = boxes[0], angles[0]  # the same box
    boxes[2], angles[2] = boxes[0], angles[0] + math.pi / 2
    first, *others = (Polygon(polygon(box, angle)) for box, angle in zip(boxes, angles, strict=True))
    want = [first.intersection(other).area for other in others]
    assert rotated.shared_areas(boxes, angles) == pytest.approx(want, abs=1e-6)
    assert 5 < np.count_nonzero(want) < 59


@pytest.mark.parametrize("iou", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_rotated_boxes_are_kept_as_in_the_service(suppression, seed, iou):
    boxes, angles = turned_boxes(seed, 200)
    boxes[100:] = boxes[:100] + 2
    rng = np.random.default_rng(seed)
    scores, class_ids = rng.random(200).astype(np.float32), rng.integers(0, 2, 200)
    want = suppress_rotated(Candidates(boxes, scores, class_ids, angles), 0.1, iou, 150)
    got = suppression.suppress(boxes, scores, class_ids, 0.1, iou, 150, angles=angles)
    assert got.tolist() == want.tolist()
    assert len(got) < 180
    upright = suppression.suppress(boxes, scores, class_ids, 0.1, iou, 150)
    assert got.tolist() != upright.tolist()
