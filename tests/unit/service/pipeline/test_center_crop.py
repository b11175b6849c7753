"""The centre of an image fills the model input."""

import json

import numpy as np
import pytest

from service.artifact.tensors import ImagesInput
from service.pipeline.center_crop import CenterCrop
from service.pipeline.preprocess import preprocess
from tests.builders import images_row


@pytest.mark.parametrize(
    ("source_hw", "expected"),
    [
        pytest.param((64, 64), CenterCrop(1.0, left=0, top=0), id="fits as it is"),
        pytest.param((64, 128), CenterCrop(1.0, left=32, top=0), id="wide: the sides are cut"),
        pytest.param((256, 128), CenterCrop(0.5, left=0, top=32), id="tall: halved, top and bottom are cut"),
        pytest.param((32, 33), CenterCrop(2.0, left=1, top=0), id="grows"),
        pytest.param((64, 67), CenterCrop(1.0, left=1, top=0), id="an odd pixel is cut from the right"),
        pytest.param((67, 64), CenterCrop(1.0, left=0, top=1), id="an odd pixel is cut from the bottom"),
    ],
)
def test_the_shorter_side_fits_and_the_middle_stays(source_hw, expected):
    assert CenterCrop.fit(source_hw, (64, 64)) == expected


def test_pixels_that_need_no_resize_are_those_of_the_middle():
    image = np.random.default_rng(0).integers(0, 256, (64, 67, 3), dtype=np.uint8)
    canvas = CenterCrop.fit((64, 67), (64, 64)).apply(image, (64, 64))
    assert canvas.shape == (1, 64, 64, 3)
    assert np.array_equal(canvas[0], image[:, 1:65])


def test_a_halved_image_keeps_its_halves():
    image = np.zeros((128, 256, 3), np.uint8)
    image[:, 128:] = 200
    canvas = CenterCrop.fit((128, 256), (64, 64)).apply(image, (64, 64))
    assert (canvas[0, :, :32] == 0).all()
    assert (canvas[0, :, 32:] == 200).all()


@pytest.mark.parametrize("source_hw", [(1, 64), (1, 200_000), (200_000, 1)])
def test_a_line_of_any_length_is_cut_before_it_takes_all_memory(source_hw):
    image = np.full((*source_hw, 3), 7, np.uint8)
    canvas = CenterCrop.fit(source_hw, (64, 64)).apply(image, (64, 64))
    assert canvas.shape == (1, 64, 64, 3)
    assert (canvas == 7).all()


def test_the_manifest_says_how_an_image_is_placed():
    image = np.full((64, 128, 3), 9, np.uint8)
    boxed = preprocess(image, ImagesInput.model_validate_json(json.dumps(images_row())))
    cropped = preprocess(image, ImagesInput.model_validate_json(json.dumps(images_row(mode="center_crop"))))
    assert (boxed.canvas[0, 0] == 114).all(), "padded above"
    assert (cropped.canvas == 9).all()
    assert boxed.source_hw == cropped.source_hw == (64, 128)
