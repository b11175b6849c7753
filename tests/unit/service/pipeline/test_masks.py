"""Masks of objects, and their encodings, against the full computation and the COCO API."""

import tracemalloc
from itertools import groupby

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray

from service.pipeline.letterbox import Letterbox
from service.pipeline.masks import Mask, object_mask
from service.pipeline.rle import decode_rle, encode_rle, polygons

STRIDE = 4


def whole(mask: Mask, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros(image_hw, dtype=bool)
    for column, start, end in zip(*mask, strict=True):
        assert 0 <= start < end <= image_hw[0]
        found[start:end, column] = True
    return found


def runs_of(bitmap: NDArray[np.bool_], left: int, top: int) -> Mask:
    """Return the mask of a bitmap whose upper left pixel is at `left`, `top` of the image."""
    runs = []
    for column in range(bitmap.shape[1]):
        row = 0
        for is_set, pixels in groupby(bitmap[:, column].tolist()):
            count = len(list(pixels))
            if is_set:
                runs.append((left + column, top + row, top + row + count))
            row += count
    return Mask(*np.array(runs, dtype=np.int64).reshape(-1, 3).T)


def by_definition(
    coefficients: NDArray[np.float32],
    prototypes: NDArray[np.float32],
    box: NDArray[np.float32],
    place: Letterbox,
    image_hw: tuple[int, int],
) -> NDArray[np.bool_]:
    """Look at every pixel of the image by itself."""
    logits = sum(float(c) * p.astype(np.float64) for c, p in zip(coefficients, prototypes, strict=True))
    height, width = logits.shape
    found = np.zeros(image_hw, dtype=bool)
    for row in range(image_hw[0]):
        for column in range(image_hw[1]):
            if not (box[0] <= column + 0.5 < box[2] and box[1] <= row + 0.5 < box[3]):
                continue
            x = min(max(((column + 0.5) * place.scale + place.left) / STRIDE - 0.5, 0), width - 1)
            y = min(max(((row + 0.5) * place.scale + place.top) / STRIDE - 0.5, 0), height - 1)
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            upper = logits[y0, x0] * (1 - (x - x0)) + logits[y0, x1] * (x - x0)
            lower = logits[y1, x0] * (1 - (x - x0)) + logits[y1, x1] * (x - x0)
            found[row, column] = upper * (1 - (y - y0)) + lower * (y - y0) > 0
    return found


@pytest.mark.parametrize("image_hw", [(37, 61), (61, 37), (64, 64), (200, 93), (5, 3)])
@pytest.mark.parametrize(
    "box", [(0, 0, 1, 1), (0.2, 0.13, 0.8, 0.71), (-0.3, -0.1, 0.5, 0.4), (0.6, 0.7, 1.4, 1.2)]
)
def test_a_mask_is_that_of_the_full_computation(
    image_hw: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    rng = np.random.default_rng(sum(image_hw))
    prototypes = rng.normal(size=(8, 16, 16)).astype(np.float32)
    coefficients = rng.normal(size=8).astype(np.float32)
    place = Letterbox.fit(image_hw, (64, 64))
    edges = (np.array(box) * np.tile(image_hw[::-1], 2)).astype(np.float32)
    mask = object_mask(coefficients, prototypes, edges, place, image_hw, STRIDE)
    expected = by_definition(coefficients, prototypes, edges, place, image_hw)
    np.testing.assert_array_equal(whole(mask, image_hw), expected)


@pytest.mark.parametrize("edges", [(3.6, 2, 4.4, 9), (9, 9, 2, 2), (70, 2, 90, 9), (np.nan,) * 4])
def test_a_box_without_a_pixel_has_an_empty_mask(edges: tuple[float, ...]) -> None:
    box = np.array(edges, dtype=np.float32)
    place = Letterbox.fit((64, 64), (64, 64))
    mask = object_mask(np.ones(1), np.ones((1, 16, 16)), box, place, (64, 64), STRIDE)
    assert len(mask.columns) == 0
    assert (
        encode_rle(mask, (64, 64)) == coco.encode(np.zeros((64, 64), np.uint8, order="F"))["counts"].decode()
    )


def test_between_the_centres_of_cells_far_apart_the_mask_is_that_of_every_row() -> None:
    """A cell is 50 pixels high, and most of them are not looked at."""
    image_hw = (1600, 40)
    place = Letterbox(scale=0.08, top=0, left=0)
    rng = np.random.default_rng(4)
    prototypes = rng.normal(size=(4, 32, 2)).astype(np.float32)
    coefficients = rng.normal(size=4).astype(np.float32)
    box = np.array([3, 21, 37, 1571], dtype=np.float32)
    mask = object_mask(coefficients, prototypes, box, place, image_hw, STRIDE)
    assert len(mask.columns) > 3 * len(set(mask.columns.tolist())), "several runs in a column"
    expected = by_definition(coefficients, prototypes, box, place, image_hw)
    np.testing.assert_array_equal(whole(mask, image_hw), expected)


def test_a_very_wide_image_is_looked_at_in_blocks() -> None:
    image_hw = (3, 1_200_000)
    place = Letterbox(scale=64 / 1_200_000, top=0, left=0)
    prototypes = np.where(np.arange(16) % 4 < 2, 1, -1)[None, None].repeat(16, axis=1).astype(np.float32)
    box = np.array([0, 0, image_hw[1], 3], dtype=np.float32)
    mask = object_mask(np.ones(1, np.float32), prototypes, box, place, image_hw, STRIDE)
    along = np.interp((np.arange(image_hw[1]) + 0.5) * place.scale, np.arange(16) * 4 + 2, prototypes[0, 0])
    np.testing.assert_array_equal(mask.columns, np.flatnonzero(along > 0))
    assert (mask.starts == 0).all()
    assert (mask.ends == 3).all()


def test_an_object_that_fills_40_megapixels_needs_less_memory_than_its_bitmap() -> None:
    image_hw = (5000, 8000)
    place = Letterbox.fit(image_hw, (640, 640))
    prototypes = np.random.default_rng(0).normal(size=(32, 160, 160)).astype(np.float16)
    prototypes[0] = 200 - np.hypot(*(np.indices((160, 160)) - 79.5)) * 3  # an ellipse, with some noise
    box = np.array([0, 0, 8000, 5000], dtype=np.float32)
    coefficients = np.ones(32, np.float32)
    tracemalloc.start()
    mask = object_mask(coefficients, prototypes, box, place, image_hw, STRIDE)
    encode_rle(mask, image_hw)
    polygons(mask)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (mask.ends - mask.starts).sum() > 10_000_000
    assert peak < 40_000_000


MASKS = [
    ("noise", lambda rng: rng.random((23, 31)) > 0.5),
    ("sparse", lambda rng: rng.random((40, 17)) > 0.97),
    ("full", lambda rng: np.ones((12, 9), dtype=bool)),
    ("empty", lambda rng: np.zeros((12, 9), dtype=bool)),
    ("blobs", lambda rng: cv2.GaussianBlur(rng.random((90, 120)), (0, 0), 4) > 0.5),
    ("columns", lambda rng: np.tile(np.arange(14) % 3 == 0, (11, 1))),
    ("frame", lambda rng: np.pad(np.zeros((5, 6), dtype=bool), 2, constant_values=True)),
]


@pytest.mark.parametrize(("name", "draw"), MASKS)
def test_the_encoding_is_that_of_the_coco_api(name: str, draw: object) -> None:
    bitmap = draw(np.random.default_rng(1))  # type: ignore[operator]
    height, width = bitmap.shape
    for image_hw, left, top in (((height, width), 0, 0), ((height + 7, width + 5), 5, 3)):
        mask = runs_of(bitmap, left, top)
        expected = coco.encode(np.asfortranarray(whole(mask, image_hw).astype(np.uint8)))["counts"]
        assert encode_rle(mask, image_hw) == expected.decode()


def test_long_runs_are_encoded_too() -> None:
    mask = runs_of(np.eye(9, dtype=bool), 6000, 3000)
    image_hw = (5000, 8000)
    expected = coco.encode(np.asfortranarray(whole(mask, image_hw).astype(np.uint8)))["counts"]
    assert encode_rle(mask, image_hw) == expected.decode()


@pytest.mark.parametrize(("name", "draw"), MASKS)
def test_polygons_hold_exactly_the_pixels_of_the_mask(name: str, draw: object) -> None:
    bitmap = draw(np.random.default_rng(2))  # type: ignore[operator]
    height, width = bitmap.shape
    inside = np.zeros((height, width), dtype=bool)
    xs, ys = np.meshgrid(np.arange(width) + 0.5 + 7, np.arange(height) + 0.5 + 4)
    for ring in polygons(runs_of(bitmap, 7, 4)):
        assert ring.dtype == np.int32
        points = ring.astype(float)
        steps = np.abs(np.roll(points, -1, axis=0) - points)
        assert (np.roll(steps, 1, axis=0)[:, 0] == 0).tolist() == (steps[:, 1] == 0).tolist(), (
            "every point is a corner"
        )
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            assert x1 == x2 or y1 == y2
            inside ^= (x1 == x2) & (x1 > xs) & ((y1 > ys) != (y2 > ys))
    np.testing.assert_array_equal(inside, bitmap)


@pytest.mark.parametrize(("name", "draw"), MASKS)
def test_every_part_and_every_hole_has_one_ring(name: str, draw: object) -> None:
    bitmap = np.pad(draw(np.random.default_rng(2)), 1)  # type: ignore[operator]
    parts = cv2.connectedComponents(bitmap.astype(np.uint8), connectivity=4)[0] - 1
    gaps = cv2.connectedComponents((~bitmap).astype(np.uint8), connectivity=8)[0] - 1
    rings = polygons(runs_of(bitmap, 0, 0))
    areas = [
        (ring[:, 0] * np.roll(ring[:, 1], 1) - ring[:, 1] * np.roll(ring[:, 0], 1)).sum() / 2
        for ring in rings
    ]
    assert sum(area > 0 for area in areas) == parts
    assert sum(area < 0 for area in areas) == gaps - 1, "one gap is around the mask"
    assert sum(areas) == bitmap.sum()


@pytest.mark.parametrize(("name", "draw"), MASKS)
def test_an_encoding_is_read_back(name: str, draw: object) -> None:
    bitmap = draw(np.random.default_rng(3))  # type: ignore[operator]
    encoded = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(decode_rle(encoded, bitmap.shape), bitmap)
