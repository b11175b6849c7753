"""The centre crop: scaling, cutting, and the side of an odd pixel."""

import numpy as np
import pytest

from training.data.images.center_crop import CenterCrop, center_crop_image


@pytest.mark.parametrize(
    ("source_hw", "input_hw", "expected"),
    [
        pytest.param((224, 224), (224, 224), CenterCrop(1.0, left=0, top=0), id="as it is"),
        pytest.param((448, 896), (224, 224), CenterCrop(0.5, left=112, top=0), id="wide: sides cut"),
        pytest.param((640, 320), (64, 64), CenterCrop(0.2, left=0, top=32), id="tall: top and bottom cut"),
        pytest.param((112, 140), (224, 224), CenterCrop(2.0, left=28, top=0), id="small: enlarged"),
        pytest.param((64, 67), (64, 64), CenterCrop(1.0, left=1, top=0), id="odd: the left loses less"),
        pytest.param((67, 64), (64, 64), CenterCrop(1.0, left=0, top=1), id="odd: the top loses less"),
        pytest.param((100, 100), (64, 128), CenterCrop(1.28, left=0, top=32), id="a canvas that is wide"),
    ],
)
def test_the_shorter_side_fits_and_the_centre_is_kept(source_hw, input_hw, expected):
    assert CenterCrop.fit(source_hw, input_hw) == expected


def test_the_pixels_that_stay_are_those_of_the_centre():
    image = np.arange(4 * 7, dtype=np.uint8).reshape(4, 7, 1).repeat(3, axis=2)
    cut = center_crop_image(image, (4, 4))
    np.testing.assert_array_equal(cut, image[:, 1:5])


@pytest.mark.parametrize("source_hw", [(1, 1), (1, 900), (900, 1), (333, 517), (97, 96), (225, 224)])
@pytest.mark.parametrize("input_hw", [(64, 64), (224, 224), (64, 96)])
def test_the_canvas_is_always_full(source_hw, input_hw):
    image = np.full((*source_hw, 3), 7, dtype=np.uint8)
    cut = center_crop_image(image, input_hw)
    assert cut.shape == (*input_hw, 3)
    assert (cut == 7).all()
