"""Images encoded for programs that show JPEG and PNG only."""

import cv2
import numpy as np
import pytest

from service.pipeline.encode import to_png, to_preview


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


@pytest.mark.parametrize(
    ("hw", "expected"),
    [
        ((2048, 100), (2048, 100)),
        ((2049, 100), (2048, 100)),
        ((100, 4096), (50, 2048)),
        ((1, 4096), (1, 2048)),
    ],
)
def test_a_preview_has_at_most_2048_pixels_a_side(hw, expected):
    assert decoded(to_preview(np.zeros((*hw, 3), np.uint8))).shape[:2] == expected


def test_a_preview_keeps_the_colours():
    image = np.full((8, 8, 3), (200, 40, 90), np.uint8)
    assert np.abs(decoded(to_preview(image)).astype(int) - image).max() <= 4


def test_a_png_holds_the_same_pixels():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (decoded(to_png(image)) == image).all()
