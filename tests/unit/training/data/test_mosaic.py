import numpy as np

from tests.unit.training.data.small_data import GREY, extent, sample
from training.config import PAD_VALUE
from training.data.augmentation.mosaic import area_fraction, clip_boxes, join_four


def quarters():
    return [sample((40, 40), [[10, 10, 20, 20]], [class_id]) for class_id in range(4)]


def test_four_images_meet_at_the_centre():
    joined = join_four(quarters(), centre_xy=(40, 40), input_hw=(40, 40))
    assert joined.image.shape == (80, 80, 3)
    np.testing.assert_array_equal(
        joined.boxes_xyxy, [[10, 10, 20, 20], [50, 10, 60, 20], [10, 50, 20, 60], [50, 50, 60, 60]]
    )
    assert joined.class_ids.tolist() == [0, 1, 2, 3]
    assert joined.visible.tolist() == [1, 1, 1, 1]


def test_boxes_lie_on_their_pixels():
    joined = join_four(quarters(), centre_xy=(45, 30), input_hw=(40, 40))
    red = (joined.image == [250, 0, 0]).all(axis=2)
    assert extent(red) == [15, 0, 25, 10]
    np.testing.assert_array_equal(joined.boxes_xyxy[0], [15, 0, 25, 10])


def test_an_object_over_the_edge_is_cut_and_says_how_much_is_left():
    joined = join_four(quarters(), centre_xy=(25, 40), input_hw=(40, 40))
    np.testing.assert_array_equal(joined.boxes_xyxy[0], [0, 10, 5, 20])  # 10 wide, moved 15 to the left
    assert joined.visible.tolist() == [0.5, 1, 0.5, 1]


def test_what_no_image_covers_is_grey_padding():
    wide = [sample((20, 40), [], []) for _ in range(4)]
    joined = join_four(wide, centre_xy=(40, 40), input_hw=(40, 40))
    assert (joined.image[20:60] == GREY).all()
    assert (joined.image[:20] == PAD_VALUE).all()
    assert (joined.image[60:] == PAD_VALUE).all()
    assert joined.boxes_xyxy.shape == (0, 4)


def test_each_image_is_scaled_to_the_model_before_it_is_placed():
    large = [sample((80, 80), [[20, 20, 40, 40]], [0]) for _ in range(4)]
    joined = join_four(large, centre_xy=(40, 40), input_hw=(40, 40))
    np.testing.assert_array_equal(joined.boxes_xyxy[0], [10, 10, 20, 20])


def test_clipping_leaves_no_area_outside_the_window():
    boxes = np.array([[-5, -5, 5, 5], [20, 20, 30, 30]], dtype=np.float32)
    clipped = clip_boxes(boxes, (0, 0, 10, 10))
    np.testing.assert_array_equal(clipped, [[0, 0, 5, 5], [10, 10, 10, 10]])
    assert area_fraction(clipped, boxes).tolist() == [0.25, 0]


def test_the_fraction_of_nothing_is_zero():
    empty = np.array([[3, 3, 3, 8]], dtype=np.float32)
    assert area_fraction(empty, empty).tolist() == [0]
