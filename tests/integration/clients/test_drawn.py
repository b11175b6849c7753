"""`sparsight-client … --save` writes images with the objects that a real service found."""

import colorsys

import cv2
import numpy as np
import pytest

from clients.command import main
from clients.drawing import draw
from clients.rest import RestClient
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.shaped_models import CORNERS, MASKS, POINTS, build_shaped

GREY = (100, 100, 100)
TEN = 10  # the image is ten times as wide and high as that of the known answers


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    repository = build_shaped(tmp_path_factory.mktemp("shapes"))
    with serve(repository=repository, backends="onnx", default_model="pose") as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture
def save(shaped, tmp_path, capsys):
    """Return a function that runs a command with --save, and reads the saved image."""

    def save_one(task, *more):
        photo = tmp_path / "photo.png"
        photo.write_bytes(image_bytes(np.full((32 * TEN, 32 * TEN, 3), GREY, np.uint8)))
        folder = tmp_path / "new" / "drawn"
        arguments = [task, str(photo), "--url", shaped.url, "--model", task, "--save", str(folder), *more]
        assert main(arguments) == 0
        assert "found" in capsys.readouterr().out
        drawn = cv2.imread(str(folder / "photo.png.drawn.png"), cv2.IMREAD_COLOR_RGB)
        assert drawn.shape == (32 * TEN, 32 * TEN, 3)
        return drawn

    return save_one


def colour(number, opacity=1.0):
    hue = (number * 137.5 + 168) % 360 / 360
    mixed = [opacity * 255 * part + (1 - opacity) * 100 for part in colorsys.hls_to_rgb(hue, 0.48, 0.78)]
    return pytest.approx(mixed, abs=2)


def near(drawn, x, y):
    """Return the colours of the nine pixels around a point."""
    x, y = round(x), round(y)
    return drawn[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3).tolist()


@pytest.mark.parametrize("form", ["rle", "polygon"])
def test_masks_are_tinted_and_outlined(save, form):
    drawn = save("segment", "--masks", form)
    masks = MASKS.repeat(TEN, axis=1).repeat(TEN, axis=2)
    lines = np.ones((7, 7), np.uint8)
    for mask, class_id in zip(masks, (1, 2), strict=True):
        inside = cv2.erode(mask.astype(np.uint8), lines, borderValue=0) == 1
        assert inside.sum() > 3000
        assert np.unique(drawn[inside], axis=0).tolist() == [colour(class_id, 0.4)]
        assert drawn[:, 99][mask[:, 99]][5].tolist() == colour(class_id), "the outline"
    assert drawn[80, 150].tolist() == list(GREY), "in the box, and not in the mask"
    assert any(one == colour(1) for one in near(drawn, 200, 80)), "the box"


def test_without_masks_boxes_are_drawn(save):
    drawn = save("segment", "--masks", "off")
    assert drawn[80, 70].tolist() == list(GREY)
    assert any(one == colour(1) for one in near(drawn, 40, 80))


def test_keypoints_that_are_seen_are_dots(save):
    drawn = save("pose")
    for points in POINTS:
        for place, (x, y, score) in enumerate(points):
            is_drawn = any(one == colour(place) for one in near(drawn, x * TEN, y * TEN))
            assert is_drawn == (score >= 0.5), (place, x, y)


def test_lines_join_the_keypoints_that_are_seen(save):
    drawn = save("pose")
    # A quarter of the way, because the second keypoint is in the middle between the others.
    joined = []
    for points, class_id in zip(POINTS, (1, 2), strict=True):
        for one, other in ((0, 1), (0, 2)):
            x, y = (3 * points[one, :2] + points[other, :2]) / 4 * TEN
            is_drawn = any(pixel == colour(class_id) for pixel in near(drawn, x, y))
            assert is_drawn == (min(points[one, 2], points[other, 2]) >= 0.5), (one, other)
            joined.append(is_drawn)
    assert joined == [False, False, True, True]


def test_rotated_boxes_go_through_their_corners(save):
    drawn = save("obb")
    for corners, class_id in zip(CORNERS * TEN, (1, 1, 2), strict=True):
        for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            # A quarter of the way, because a name or another box may be at a corner or in the middle.
            x, y = (3 * x1 + x2) / 4, (3 * y1 + y2) / 4
            if 1 < x < 319 and 1 < y < 319:
                assert any(one == colour(class_id) for one in near(drawn, x, y)), (x, y)


def test_a_detector_can_be_drawn_too(served, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    photo.write_bytes(image_bytes(golden_image()))
    assert main(["detect", str(photo), "--url", served.url, "--save", str(tmp_path), "--json"]) == 0
    drawn = cv2.imread(str(tmp_path / "photo.png.drawn.png"), cv2.IMREAD_COLOR_RGB)
    assert drawn[30, 20].tolist() == golden_image()[30, 20].tolist(), "inside of the box"
    assert any(one == colour(0) for one in near(drawn, 4, 30))


def test_an_image_of_another_size_is_refused(shaped):
    with RestClient(shaped.url, model="obb") as client:
        found = client.detect_oriented(image_bytes(golden_image()))
    with pytest.raises(ValueError, match="not the one of"):
        draw(np.zeros((32, 64, 3), np.uint8), found)
