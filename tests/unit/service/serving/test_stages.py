"""The stages of one image: a large JPEG is decoded for the model input that it goes to."""

import json
from time import perf_counter

import numpy as np
import pytest

from service.artifact.tensors import ImagesInput
from service.pipeline.decode import decode
from service.pipeline.preprocess import preprocess
from service.serving import stages
from service.serving.stages import ImageStages
from tests.builders import image_bytes, images_row

PHOTO = np.random.default_rng(0).integers(0, 256, (301, 403, 3), dtype=np.uint8)


def spec_of(side: int) -> ImagesInput:
    return ImagesInput.model_validate_json(json.dumps(images_row() | {"dims": ["B", side, side, 3]}))


@pytest.fixture
def decoded(monkeypatch):
    """Return the sizes of the images that were decoded."""
    sizes = []

    def counted(*args):
        image = decode(*args)
        sizes.append(image.pixels.shape[:2])
        return image

    monkeypatch.setattr(stages, "decode", counted)
    return sizes


def test_a_backend_with_a_larger_model_input_gets_more_pixels(decoded):
    data = image_bytes(PHOTO, "JPEG")
    image = ImageStages(data, 10**6, None)
    small = image.decode_and_preprocess(spec_of(32), perf_counter())
    assert image.decode_and_preprocess(spec_of(32), perf_counter()) is small
    large = image.decode_and_preprocess(spec_of(256), perf_counter())
    assert decoded == [(76, 101), (301, 403)]
    assert small.source_hw == large.source_hw == (301, 403)
    assert np.array_equal(large.canvas, preprocess(decode(data, 10**6).pixels, spec_of(256)).canvas)


def test_an_image_is_decoded_once_for_a_model_input(decoded):
    image = ImageStages(image_bytes(PHOTO, "PNG"), 10**6, None)
    for side in (32, 32, 256):
        image.decode_and_preprocess(spec_of(side), perf_counter())
    assert decoded == [(301, 403), (301, 403)]


def test_notes_of_a_damaged_file_are_told():
    data = image_bytes(PHOTO, "JPEG")
    image = ImageStages(data[: len(data) // 2] + b"\xff\xd9", 10**6, None)
    placed = image.decode_and_preprocess(spec_of(32), perf_counter())
    assert [note.partition(":")[0] for note in image.notes] == ["damaged"]
    assert placed.source_hw == (301, 403)
