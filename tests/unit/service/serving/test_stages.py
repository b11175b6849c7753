"""The stages of one image: a large JPEG is decoded for the model input that it goes to."""

import json

import numpy as np
import pytest

from service.artifact.tensors import ImagesInput
from service.pipeline.decode import decode
from service.pipeline.preprocess import preprocess
from service.serving import stages
from service.serving.stages import Attempt, ImageStages
from service.tasks.resolve import golden_params
from tests.builders import compile_graph, image_bytes, images_row, run_graph

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
    small = image.place(spec_of(32))
    assert image.place(spec_of(32)) is small
    large = image.place(spec_of(256))
    assert decoded == [(76, 101), (301, 403)]
    assert small.source_hw == large.source_hw == (301, 403)
    assert np.array_equal(large.canvas, preprocess(decode(data, 10**6).pixels, spec_of(256)).canvas)


def test_an_image_is_decoded_once_for_a_model_input(decoded):
    image = ImageStages(image_bytes(PHOTO, "PNG"), 10**6, None)
    for side in (32, 32, 256):
        image.place(spec_of(side))
    assert decoded == [(301, 403), (301, 403)]


def test_notes_of_a_damaged_file_are_told():
    data = image_bytes(PHOTO, "JPEG")
    image = ImageStages(data[: len(data) // 2] + b"\xff\xd9", 10**6, None)
    placed = image.place(spec_of(32))
    assert [note.partition(":")[0] for note in image.notes] == ["damaged"]
    assert placed.source_hw == (301, 403)


def test_waiting_counts_as_queue_and_not_as_the_stage_before_or_after(artifact, monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(stages, "perf_counter", lambda: now_s)

    def slow_decode(*args):
        nonlocal now_s
        now_s += 0.02
        return decode(*args)

    monkeypatch.setattr(stages, "decode", slow_decode)
    attempt = Attempt(
        ImageStages(image_bytes(PHOTO, "PNG"), 10**6, None),
        artifact.manifest,
        golden_params(artifact.manifest),
    )
    now_s += 0.05  # the image waits for a thread
    inputs = attempt.prepare()
    now_s += 0.04  # it waits for the engine, which then runs for 10 ms
    timings = attempt.finish(
        run_graph(compile_graph(artifact.graph), inputs["images"], top_k=2), infer_s=0.01
    ).timings
    times = (timings.decode_s, timings.queue_s, timings.infer_s, timings.total_s)
    assert times == pytest.approx((0.02, 0.05 + 0.04 - 0.01, 0.01, 0.02 + 0.05 + 0.04))
    assert timings.preprocess_s == timings.postprocess_s == 0
