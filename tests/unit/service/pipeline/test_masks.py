"""Masks of objects, and their encodings, against the full computation and the COCO API."""

import tracemalloc

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
    height, width = mask.bitmap.shape
    found[mask.top : mask.top + height, mask.left : mask.left + width] = mask.bitmap
    return found


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


def test_a_box_without_a_pixel_has_an_empty_mask() -> None:
    box = np.array([3.6, 2, 4.4, 9], dtype=np.float32)
    place = Letterbox.fit((64, 64), (64, 64))
    mask = object_mask(np.ones(1), np.ones((1, 16, 16)), box, place, (64, 64), STRIDE)
    assert mask.bitmap.size == 0
    assert (
        encode_rle(mask, (64, 64)) == coco.encode(np.zeros((64, 64), np.uint8, order="F"))["counts"].decode()
    )


def test_an_object_of_40_megapixels_needs_no_more_than_its_box() -> None:
    image_hw = (5000, 8000)
    place = Letterbox.fit(image_hw, (640, 640))
    prototypes = np.random.default_rng(0).normal(size=(32, 160, 160)).astype(np.float16)
    box = np.array([100, 100, 500, 400], dtype=np.float32)
    tracemalloc.start()
    for _ in range(300):
        mask = object_mask(np.ones(32, np.float32), prototypes, box, place, image_hw, STRIDE)
        encode_rle(mask, image_hw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mask.bitmap.shape == (300, 400)
    assert peak < 16 * 300 * 400 + 2**21


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
        mask = Mask(left, top, bitmap)
        expected = coco.encode(np.asfortranarray(whole(mask, image_hw).astype(np.uint8)))["counts"]
        assert encode_rle(mask, image_hw) == expected.decode()


def test_long_runs_are_encoded_too() -> None:
    mask = Mask(6000, 3000, np.eye(9, dtype=bool))
    image_hw = (5000, 8000)
    expected = coco.encode(np.asfortranarray(whole(mask, image_hw).astype(np.uint8)))["counts"]
    assert encode_rle(mask, image_hw) == expected.decode()


@pytest.mark.parametrize(("name", "draw"), MASKS)
def test_polygons_hold_exactly_the_pixels_of_the_mask(name: str, draw: object) -> None:
    bitmap = draw(np.random.default_rng(2))  # type: ignore[operator]
    height, width = bitmap.shape
    inside = np.zeros((height, width), dtype=bool)
    xs, ys = np.meshgrid(np.arange(width) + 0.5 + 7, np.arange(height) + 0.5 + 4)
    for ring in polygons(Mask(7, 4, bitmap)):
        points = np.array(ring)
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            assert x1 == x2 or y1 == y2
            inside ^= (x1 == x2) & (x1 > xs) & ((y1 > ys) != (y2 > ys))
    np.testing.assert_array_equal(inside, bitmap)


@pytest.mark.parametrize(("name", "draw"), MASKS)
def test_an_encoding_is_read_back(name: str, draw: object) -> None:
    bitmap = draw(np.random.default_rng(3))  # type: ignore[operator]
    encoded = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(decode_rle(encoded, bitmap.shape), bitmap)
