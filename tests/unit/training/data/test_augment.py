import numpy as np
import pytest

from tests.unit.training.data.small_data import GREY, MemoryDataset, extent, sample
from training.config import PAD_VALUE, AugmentConfig
from training.data.augment import augment, flip, shift_colours, warp
from training.data.mosaic import Placed

NOTHING = AugmentConfig(
    mosaic=0, hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0
)
GEOMETRY = AugmentConfig(hsv_hue=0, hsv_saturation=0, hsv_value=0, flip_horizontal=0.5, flip_vertical=0.5)


def placed(boxes, visible=None):
    made = sample((100, 100), boxes, [0] * len(boxes))
    shown = np.ones(len(boxes), dtype=np.float32) if visible is None else np.array(visible, dtype=np.float32)
    return Placed(made.image, made.boxes_xyxy, made.class_ids, shown)


def shift(x, y, scale=1.0):
    return np.array([[scale, 0, x], [0, scale, y]], dtype=np.float64)


def test_with_everything_off_a_sample_is_only_letterboxed():
    made = sample((32, 64), [[4, 8, 12, 16]], [1])
    result = augment(MemoryDataset([made]), 0, np.random.default_rng(0), NOTHING, (64, 64), mosaic=True)
    np.testing.assert_array_equal(result.image[16:48], made.image)
    assert (result.image[:16] == PAD_VALUE).all()
    np.testing.assert_array_equal(result.boxes_xyxy, [[4, 24, 12, 32]])
    assert result.class_ids.tolist() == [1]


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("degrees", [0.0, 8.0])
def test_boxes_follow_their_pixels(mosaic, degrees):
    config = AugmentConfig(**{**vars(GEOMETRY), "degrees": degrees})
    # Only image 0 has an object, so the red pixels of a mosaic are all its own.
    dataset = MemoryDataset([sample((90, 120), [[30, 20, 75, 60]], [0]), *[sample((80, 60), [], [])] * 30])
    checked = 0
    for seed in range(100):
        result = augment(dataset, 0, np.random.default_rng(seed), config, (128, 160), mosaic)
        red = result.image[..., 0] > (250 + GREY) / 2
        if len(result.boxes_xyxy) == 1:
            x1, y1, x2, y2 = result.boxes_xyxy[0]
            # A turned rectangle that the canvas cuts is narrower than the box around its corners.
            if degrees and (min(x1, y1) <= 0 or x2 >= 160 or y2 >= 128):
                continue
            assert extent(red) == pytest.approx([x1, y1, x2, y2], abs=1.6)
            checked += 1
    assert checked >= 10


def test_the_same_generator_gives_the_same_sample():
    dataset = MemoryDataset([sample((90, 120), [[30, 20, 75, 60]], [0])] * 3)
    one, two, other = (
        augment(dataset, 0, np.random.default_rng(seed), AugmentConfig(), (64, 64), True)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes_xyxy, two.boxes_xyxy)
    assert (one.image != other.image).any()


def test_mosaic_joins_three_other_images_and_stays_off_when_told():
    dataset = MemoryDataset([sample((64, 64), [[8, 8, 56, 56]], [0])] * 2)
    augment(dataset, 0, np.random.default_rng(0), AugmentConfig(), (64, 64), mosaic=True)
    assert dataset.loads == 4
    augment(dataset, 0, np.random.default_rng(0), AugmentConfig(), (64, 64), mosaic=False)
    assert dataset.loads == 5


def test_images_without_objects_stay_without():
    dataset = MemoryDataset([sample((64, 48), [], [])])
    result = augment(dataset, 0, np.random.default_rng(0), AugmentConfig(degrees=5), (64, 64), True)
    assert result.boxes_xyxy.shape == (0, 4)
    assert result.boxes_xyxy.dtype == np.float32
    assert result.class_ids.shape == (0,)


def test_a_shift_by_whole_pixels_moves_pixels_and_boxes_alike():
    image, boxes, _ = warp(placed([[10, 20, 30, 40]]), shift(5, -10), (100, 100))
    np.testing.assert_array_equal(boxes, [[15, 10, 35, 30]])
    assert extent((image == [250, 0, 0]).all(axis=2)) == [15, 10, 35, 30]
    assert (image[:, :5] == PAD_VALUE).all()


def test_halving_keeps_pixel_edges_on_pixel_edges():
    image, boxes, _ = warp(placed([[20, 40, 60, 80]]), shift(0, 0, scale=0.5), (50, 50))
    np.testing.assert_array_equal(boxes, [[10, 20, 30, 40]])
    assert extent(image[..., 0] > 200) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("moved_out", "left"),
    [
        pytest.param(15, 1, id="a quarter left: kept"),
        pytest.param(18, 1, id="a tenth left: kept"),
        pytest.param(19, 0, id="a twentieth left: dropped"),
        pytest.param(40, 0, id="wholly outside: dropped"),
    ],
)
def test_an_object_needs_a_tenth_of_its_area_on_the_canvas(moved_out, left):
    _, boxes, class_ids = warp(placed([[0, 0, 20, 20]]), shift(-moved_out, 0), (100, 100))
    assert (len(boxes), len(class_ids)) == (left, left)


def test_what_a_mosaic_cut_off_counts_too():
    half_gone = placed([[0, 0, 20, 20]], visible=[0.15])
    assert len(warp(half_gone, shift(0, 0), (100, 100))[1]) == 1
    assert len(warp(half_gone, shift(-10, 0), (100, 100))[1]) == 0  # 0.15 × 0.5 is less than a tenth


@pytest.mark.parametrize(("side", "left"), [(4, 1), (3, 0)])
def test_an_object_needs_two_pixels_each_way(side, left):
    _, boxes, _ = warp(placed([[10, 10, 10 + side, 50]]), shift(0, 0, scale=0.5), (50, 50))
    assert len(boxes) == left


def test_flips_mirror_boxes_and_pixels():
    made = sample((20, 30), [[2, 3, 10, 9]], [0])
    image, boxes = flip(made.image, made.boxes_xyxy, axis=1)
    np.testing.assert_array_equal(boxes, [[20, 3, 28, 9]])
    assert extent(image[..., 0] > 200) == [20, 3, 28, 9]
    image, boxes = flip(made.image, made.boxes_xyxy, axis=0)
    np.testing.assert_array_equal(boxes, [[2, 11, 10, 17]])
    assert extent(image[..., 0] > 200) == [2, 11, 10, 17]


def test_colours_change_and_grey_stays_grey():
    image = sample((8, 8), [[0, 0, 4, 8]], [0]).image
    config = AugmentConfig(hsv_hue=0.1, hsv_saturation=0.5, hsv_value=0.5)
    shifted = shift_colours(image, np.random.default_rng(3), config)
    assert (shifted[:, :4] != image[:, :4]).any()
    assert np.ptp(shifted[0, 7]) == 0


def test_colours_stay_when_all_gains_are_off():
    image = sample((8, 8), [[0, 0, 4, 8]], [0]).image
    assert shift_colours(image, np.random.default_rng(0), NOTHING) is image
