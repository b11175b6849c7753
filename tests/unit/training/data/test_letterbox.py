import numpy as np
import pytest

from tests.unit.training.data.small_data import extent, sample
from training.config import PAD_VALUE
from training.data.images.letterbox import Letterbox, letterbox_image, scale_sample


@pytest.mark.parametrize(
    ("source_hw", "expected"),
    [
        pytest.param((320, 640), Letterbox(1.0, left=0, top=160), id="wide: padded top and bottom"),
        pytest.param((1280, 640), Letterbox(0.5, left=160, top=0), id="tall: halved, padded at sides"),
        pytest.param((64, 64), Letterbox(10.0, left=0, top=0), id="small: enlarged"),
        pytest.param((639, 640), Letterbox(1.0, left=0, top=0), id="odd padding: the extra row goes below"),
        pytest.param((1, 6400), Letterbox(0.1, left=0, top=319), id="a thread keeps one pixel"),
    ],
)
def test_letterbox_centres_the_image(source_hw, expected):
    assert Letterbox.fit(source_hw, (640, 640)) == expected


def test_padding_is_grey_and_the_image_lies_inside_it():
    image = np.full((32, 64, 3), 200, dtype=np.uint8)
    canvas, placed = letterbox_image(image, (64, 64))
    assert (canvas[:16] == PAD_VALUE).all()
    assert (canvas[48:] == PAD_VALUE).all()
    assert (canvas[16:48] == 200).all()
    assert placed == Letterbox(1.0, left=0, top=16)


def test_a_canvas_need_not_be_square():
    canvas, placed = letterbox_image(np.zeros((100, 100, 3), dtype=np.uint8), (64, 128))
    assert canvas.shape == (64, 128, 3)
    assert placed == Letterbox(0.64, left=32, top=0)


def test_an_image_thinner_than_a_pixel_still_fits():
    canvas, _ = letterbox_image(np.zeros((1, 6400, 3), dtype=np.uint8), (640, 640))
    assert (canvas == 0).all(axis=2).sum() == 640


def test_boxes_go_from_the_canvas_back_to_the_source():
    placed = Letterbox(0.5, left=10, top=20)
    on_canvas = np.array([[10, 20, 60, 40], [11, 22, 13, 24]], dtype=np.float32)
    np.testing.assert_array_equal(placed.to_source(on_canvas), [[0, 0, 100, 40], [2, 4, 6, 8]])
    assert placed.to_source(np.zeros((0, 4), dtype=np.float32)).shape == (0, 4)


def test_the_box_of_a_scaled_sample_follows_its_pixels():
    scaled = scale_sample(sample((40, 80), [[8, 10, 24, 30]], [0]), (160, 160))
    np.testing.assert_array_equal(scaled.boxes_xyxy, [[16, 20, 48, 60]])
    assert extent(scaled.image[..., 0] > 200) == pytest.approx([16, 20, 48, 60], abs=1)


def test_scaling_a_sample_twice_is_scaling_it_once():
    once = scale_sample(sample((333, 1000), [[10, 20, 500, 300]], [0]), (640, 640))
    twice = scale_sample(once, (640, 640))
    assert once.image.shape == (213, 640, 3)
    assert twice.image is once.image
    np.testing.assert_array_equal(twice.boxes_xyxy, once.boxes_xyxy)
