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


# The network input itself, larger and smaller images, and one with cells smaller than its pixels.
@pytest.mark.parametrize("image_hw", [INPUT_HW, (96, 128), (100, 70), (33, 64), (11, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_masks_are_those_of_the_service(masks, seed, image_hw):
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(5, 12, 16)).astype(np.float16)
    coefficients = rng.normal(size=(20, 5)).astype(np.float32)
    corners = rng.uniform(-20, 80, (20, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    boxes[:2] = [[-5, -5, 80, 60], [63.4, 40, 64, 48]]  # more than everything; the last column
    got = masks.encode_masks(coefficients, prototypes, boxes, INPUT_HW, STRIDE, image_hw)
    place, (height, width), pixels = Letterbox.fit(image_hw, INPUT_HW), image_hw, 0
    for counts, row, box in zip(got, coefficients, boxes, strict=True):
        clipped = place.to_source(box[None])[0].clip(0, np.array([width, height] * 2, np.float32))
        want = object_mask(row, prototypes, clipped, place, image_hw, STRIDE)
        assert counts.decode("ascii") == encode_rle(want, image_hw)
        pixels += int(decode_rle(counts.decode("ascii"), image_hw).sum())
    assert pixels > height * width / 2


def test_a_mask_of_the_image_is_where_the_interpolated_logit_is_positive(masks):
    """Compute pixel by pixel, on an image that is padded on the left and the right and nearly filled."""
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(3, 12, 16)).astype(np.float16)
    coefficients = rng.normal(size=(2, 3)).astype(np.float32)
    image_hw, scale, left = (90, 70), 48 / 90, 13  # 70 columns become 37.3, in the middle of 64
    boxes = np.array([[10, 3.2, 50, 44.1], [-9, -9, 99, 99]], np.float32)
    got = masks.encode_masks(coefficients, prototypes, boxes, INPUT_HW, STRIDE, image_hw)
    for counts, row, box in zip(got, coefficients, boxes, strict=True):
        logits = (row[:, None, None] * prototypes.astype(np.float64)).sum(axis=0)
        want = np.zeros(image_hw, bool)
        for y, x in np.ndindex(image_hw):
            at = (x + 0.5) * scale + left, (y + 0.5) * scale
            cell_x, cell_y = np.clip(at[0] / 4 - 0.5, 0, 15), np.clip(at[1] / 4 - 0.5, 0, 11)
            logit = 0.0
            for near_y, near_x in np.ndindex(logits.shape):
                share = max(0.0, 1 - abs(cell_x - near_x)) * max(0.0, 1 - abs(cell_y - near_y))
                logit += share * logits[near_y, near_x] if share else 0.0
            want[y, x] = logit > 0 and box[0] <= at[0] < box[2] and box[1] <= at[1] < box[3]
        assert np.array_equal(coco_mask.decode({"size": list(image_hw), "counts": counts}), want)
        assert 1000 < want.sum() < 5000


@pytest.mark.parametrize("image_hw", [(480, 640), (1080, 1919), (1, 4000), (4000, 1), (3, 2), (333, 500)])
def test_the_image_is_placed_as_in_the_service(masks, image_hw):
    want = Letterbox.fit(image_hw, INPUT_HW)
    assert masks.place_of(image_hw, INPUT_HW) == (want.scale, want.left, want.top)


def runs_of(masks, mask):
    """Return the runs of a bitmap, found pixel by pixel."""
    found = []
    for x, column in enumerate(mask.T.tolist()):
        for y, is_set in enumerate(column):
            if is_set and (y == 0 or not column[y - 1]):
                end = next((i for i in range(y, len(column)) if not column[i]), len(column))
                found.append((x, y, end))
    return masks.Runs(*np.array(found, dtype=np.int64).reshape(-1, 3).T)


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
        got = masks.run_lengths(runs_of(masks, mask), mask.shape)
        assert got == coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def test_long_runs_are_those_of_the_coco_api(masks):
    mask = np.zeros((2000, 3000), bool)
    mask[::2, 7] = mask[:, 2900:2950] = True
    got = masks.run_lengths(runs_of(masks, mask), mask.shape)
    assert got == coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


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
