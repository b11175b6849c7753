"""Masks of answers, against the COCO API and against single pixels."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco

from clients.rle import decode_rle, fill_polygons


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (37, 23), (700, 900)])
def test_masks_of_the_coco_api_are_read(size: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(3).random(size) < share
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(decode_rle(encoded["counts"].decode(), size), mask)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("\x10", "not a run-length encoding"),
        ("ü", "not a run-length encoding"),
        ("o", "not a run-length encoding"),  # ends in the middle of a number
        ("o" * 12 + "0", "too long"),
        ("4", "do not fill"),
        ("?", "do not fill"),  # a negative length
        ("", "do not fill"),
    ],
)
def test_what_is_no_mask_is_refused(counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_rle(counts, (2, 3))


def test_polygons_fill_the_pixels_whose_centres_are_inside() -> None:
    outer = [[1.0, 1.0], [9.0, 2.0], [8.0, 7.5], [0.5, 6.0]]
    hole = [[3.0, 3.0], [5.0, 3.0], [5.0, 5.0], [3.0, 5.0]]
    beyond = [[-4.0, -4.0], [2.0, -4.0], [2.0, 1.0], [-4.0, 1.0]]
    found = fill_polygons([outer, hole, beyond], (8, 10))
    for row in range(8):
        for column in range(10):
            inside = 0
            for ring in (outer, hole, beyond):
                for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
                    if (y1 > row + 0.5) != (y2 > row + 0.5):
                        inside += x1 + (row + 0.5 - y1) / (y2 - y1) * (x2 - x1) > column + 0.5
            assert found[row, column] == (inside % 2 == 1)
    assert found[0, :2].all()
    assert not found[3:5, 3:5].any()


@pytest.mark.parametrize("ring", [[[1.0]], [1.0, 2.0], [[0.0, float("nan")], [1.0, 1.0]]])
def test_what_is_no_polygon_is_refused(ring: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"list of \[x, y\]"):
        fill_polygons([ring], (4, 4))
