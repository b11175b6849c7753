"""`format=jpeg` answers with the image itself, with what was found drawn into it."""

import io
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
import pytest
from PIL import Image

from clients.drawing import draw
from clients.image import as_pixels
from clients.rest import RestClient
from service.serving import detect
from service.tasks import drawing
from tests.builders import build_artifact, build_classifier, golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.shaped_models import build_shaped

GOLDEN = Path(__file__).parents[3] / "model_repository" / "starter-openvino" / "1" / "golden.npz"
CALLS = {
    "tiny": RestClient.detect,
    "colours": RestClient.classify,
    "segment": RestClient.segment,
    "pose": RestClient.pose,
    "obb": RestClient.detect_oriented,
}
SMALL = image_bytes(golden_image())
JPEG = {"Accept": "image/jpeg"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    repository = build_shaped(tmp_path_factory.mktemp("five tasks"))
    build_artifact(repository)
    build_classifier(repository)
    with serve(repository=repository, backends="onnx,openvino", default_model="tiny") as served:
        assert wait_until_ready(served).status_code == 200, wait_until_ready(served).text
        yield served


@pytest.fixture(scope="module", params=["cells", "china.jpg", "chelsea.png"])
def photo(request):
    """Return the file of an image: one that is in the repository, and photographs of SPARSIGHT_DATA."""
    if request.param == "cells":
        with np.load(GOLDEN) as golden:
            return image_bytes(golden["image"].repeat(2, axis=0).repeat(2, axis=1))
    if "SPARSIGHT_DATA" not in os.environ:
        pytest.skip("SPARSIGHT_DATA is not set: it names the folder with the real photographs")
    return (Path(os.environ["SPARSIGHT_DATA"]) / "photos" / request.param).read_bytes()


def pixels_of(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def drawn_of(running, data, **query):
    answer = running.detect(data, format="jpeg", **query)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), answer.text
    return answer.content


@pytest.mark.parametrize("model", CALLS)
def test_the_answer_is_the_drawing_that_a_client_makes_of_the_json_answer(running, photo, model):
    with RestClient(running.url, model=model) as client:
        found = CALLS[model](client, photo)
    assert len(found) > 0
    pixels = as_pixels(photo)
    drawn = draw(pixels, found)
    assert (drawn != pixels).any(axis=-1).sum() > 1000
    got = pixels_of(drawn_of(running, photo, model=model))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    written = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), quality)[1]
    assert np.array_equal(got, pixels_of(written)), "the same drawing, as JPEG of quality 90"


def test_without_masks_only_boxes_are_drawn(running):
    data = image_bytes(np.full((320, 320, 3), 100, np.uint8))
    plain, tinted = (
        pixels_of(drawn_of(running, data, model="segment", masks=form))[60:100, 60:80].astype(int)
        for form in ("off", "rle")
    )
    assert np.abs(plain - 100).max() <= 2, "in the first object, away from its lines"
    assert np.abs(tinted - 100).max(axis=-1).min() > 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_answer_is_upright_and_has_no_metadata(running, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.full((20, 40, 3), 60, np.uint8)
    stored[:8, :16] = 240  # the corner where row 0 and column 0 of the file are
    data = image_bytes(stored, "JPEG", exif=exif, quality=95)
    size = running.detect(data, conf=1).json()["image"]
    with Image.open(io.BytesIO(drawn_of(running, data, conf=1))) as got:
        assert got.size == (size["width"], size["height"])
        assert got.size == ((20, 40) if orientation >= 5 else (40, 20))
        assert not got.getexif()
        assert "exif" not in got.info
        bright = np.asarray(got.convert("L")) > 150
    # Where EXIF 2.32 says that row 0 and column 0 are to be seen.
    at_top, at_left = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    rows, columns = np.nonzero(bright)
    assert (rows.mean() < len(bright) / 2, columns.mean() < bright.shape[1] / 2) == (at_top, at_left)


def test_the_request_has_its_id_as_in_other_answers(running):
    headers = {"X-Request-Id": "mine"}
    answer = running.client.post("/detect?format=jpeg", content=SMALL, headers=headers)
    assert answer.headers["x-request-id"] == "mine"


def test_a_form_with_one_file_is_one_image(running):
    answer = running.client.post("/detect?format=jpeg", files={"image": ("a.png", SMALL)})
    assert answer.content == drawn_of(running, SMALL)


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("/detect?format=jpeg", 2),
        ("/detect?format=jpeg&several=true", 1),
        ("/detect/batch?format=jpeg", 1),
    ],
)
def test_several_images_are_refused(running, path, files):
    answer = running.client.post(path, files=[("image", (f"{i}.png", SMALL)) for i in range(files)])
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["parameter"] == "format"
    assert "send one file to /detect" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("image/jpeg", "", "image/jpeg"),
        ("Image/JPEG;q=0.9", "", "image/jpeg"),
        ("image/jpeg", "?format=json", "application/json"),
        ("image/jpeg", "?format=coco", "application/json"),
        ("application/json", "?format=jpeg", "image/jpeg"),
        ("image/jpeg;q=0.8, application/json", "", "application/json"),
        ("image/jpeg, */*;q=0.1", "", "application/json"),
        ("image/png", "", "application/json"),
        ("image/*", "", "application/json"),
        ("*/*", "", "application/json"),
        ("nonsense", "", "application/json"),
        ("", "", "application/json"),
    ],
)
def test_a_caller_that_accepts_nothing_but_jpeg_gets_it(running, accept, query, expected):
    answer = running.client.post(f"/detect{query}", content=SMALL, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)


@pytest.mark.parametrize(
    ("content", "query", "status", "words"),
    [
        (b"hello", "", 415, "not an image"),
        (SMALL[:100], "", 422, "truncated"),
        (SMALL, "conf=2", 422, "conf=2"),
        (SMALL, "model=other", 404, "no model 'other'"),
        (SMALL, "model=segment&masks=polygon", 422, "format=jpeg draws masks"),
        (image_bytes(np.zeros((4, 65_501, 3), np.uint8)), "", 422, "at most 65500 pixels on a side"),
    ],
)
def test_errors_are_problems(running, content, query, status, words):
    answer = running.client.post(f"/detect?{query}", content=content, headers=JPEG)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


def test_the_longest_side_of_a_jpeg_is_written(running):
    data = image_bytes(np.zeros((65_500, 4, 3), np.uint8))
    assert pixels_of(drawn_of(running, data)).shape == (65_500, 4, 3)


def test_the_service_answers_others_while_it_draws(running, monkeypatch):
    drawing_now, answered = threading.Event(), threading.Event()
    draw_now = detect.draw

    def draw_when_another_was_answered(*args):
        drawing_now.set()
        assert answered.wait(10), "nobody else was answered meanwhile"
        draw_now(*args)

    monkeypatch.setattr(detect, "draw", draw_when_another_was_answered)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(drawn_of, running, SMALL)
        assert drawing_now.wait(10)
        assert running.client.get("/healthz").status_code == 200
        answered.set()
        assert told.result()


def test_masks_are_decoded_one_by_one(running, monkeypatch):
    decode, bitmaps, alive = drawing.decode_rle, [], []

    def decode_and_count(*args):
        alive.append(sum(bitmap() is not None for bitmap in bitmaps))
        mask = decode(*args)
        bitmaps.append(weakref.ref(mask))
        return mask

    monkeypatch.setattr(drawing, "decode_rle", decode_and_count)
    drawn_of(running, SMALL, model="segment")
    assert alive == [0, 0]


def test_a_drawing_ends_at_the_deadline(running, monkeypatch):
    ended = threading.Event()
    draw_now = detect.draw

    def draw_late(image, result, manifest, context):
        while context.deadline > perf_counter():
            pass
        try:
            draw_now(image, result, manifest, context)
        finally:
            ended.set()

    def decode(*_):
        raise AssertionError("a mask was decoded behind the deadline")

    monkeypatch.setattr(detect, "draw", draw_late)
    monkeypatch.setattr(drawing, "decode_rle", decode)
    answer = running.detect(SMALL, format="jpeg", model="segment", timeout_ms=500)
    assert (answer.status_code, answer.headers["content-type"]) == (504, "application/problem+json")
    assert ended.wait(10)
