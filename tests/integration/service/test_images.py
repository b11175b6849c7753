"""The example image of a model, and previews, over a real connection."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.builders import build_artifact, golden_image, image_bytes


def decoded(response):
    return cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_the_example_is_the_golden_image(served):
    response = served.client.get("/models/tiny/example")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert (decoded(response) == golden_image()).all()


def test_a_model_that_does_not_exist_has_no_example(served):
    response = served.client.get("/models/other/example")
    assert response.status_code == 404
    assert "there is no model 'other'" in response.json()["detail"]


def test_a_model_whose_files_have_gone_has_no_example(start, tmp_path):
    built = build_artifact(tmp_path / "gone")
    client = start(repository=built.repository).client
    (built.folder / "golden.npz").unlink()
    response = client.get("/models/tiny/example")
    assert response.status_code == 404
    assert "golden.npz cannot be read" in response.json()["detail"]


def test_a_preview_is_the_upright_image_as_jpeg(served):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 250  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns the image clockwise, so the left half becomes the upper half
    response = served.client.post("/preview", content=image_bytes(pixels, "TIFF", exif=exif))
    assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
    preview = decoded(response)
    assert preview.shape == (40, 20, 3)
    assert preview[:16].min() > 240
    assert preview[24:].max() < 10


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 422), (b"hello", 415), (image_bytes(golden_image())[:100], 422)]
)
def test_a_preview_refuses_what_detect_refuses(served, content, status):
    assert served.client.post("/preview", content=content).status_code == status


def test_a_preview_is_of_one_image(served):
    image = ("a.png", image_bytes(golden_image()))
    response = served.client.post("/preview", files=[("a", image), ("b", image)])
    assert response.status_code == 422
    assert "send one file" in response.json()["detail"]


def test_a_preview_takes_the_bits_and_nothing_else(served):
    grey = np.full((8, 8), 200, np.uint16)
    for bits, level in ((8, 200), (9, 100)):
        response = served.client.post(f"/preview?bits={bits}", content=image_bytes(grey))
        assert abs(int(decoded(response)[0, 0, 0]) - level) <= 1
    for query, words in (
        ("bits=17", "a whole number from 8 to 16"),
        ("bits=8&bits=9", "bits is given 2 times"),
        ("conf=0.4", "a preview has no parameter 'conf'"),
    ):
        response = served.client.post(f"/preview?{query}", content=image_bytes(grey))
        assert response.status_code == 422
        assert words in response.json()["detail"]


def test_examples_are_counted_under_their_route(served):
    series = 'sparsight_requests_total{code="200",route="/models/{name}/example"}'
    assert served.client.get("/models/tiny/example").status_code == 200
    count = served.metrics()[series]
    assert served.client.get("/models/tiny/example").status_code == 200
    assert served.metrics()[series] == count + 1
