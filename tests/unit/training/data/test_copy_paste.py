"""Copy-paste: the pasted pixels, and the remaining boxes of covered objects."""

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.data.small_data import GREY, sample, with_regions
from training.data.augmentation.copy_paste import (
    MAX_HIDDEN,
    MAX_OBJECTS,
    SOFT_EDGE_PX,
    cover,
    cut_out,
    paste_objects,
    paste_patch,
)
from training.data.augmentation.mosaic import MIN_VISIBLE, Placed


def noise(image_hw, boxes, class_ids=None, seed=0):
    """A sample whose pixels are all different, so that a pixel says where it is from."""
    made = sample(image_hw, boxes, [0] * len(boxes) if class_ids is None else class_ids)
    made.image[:] = np.random.default_rng(seed).integers(0, 256, made.image.shape, dtype=np.uint8)
    return made


def placed(boxes, visible=None, image_hw=(100, 100)):
    made = noise(image_hw, boxes, seed=1)
    shown = np.ones(len(boxes), dtype=np.float32) if visible is None else np.array(visible, dtype=np.float32)
    return Placed(made.image, made.boxes_xyxy, made.class_ids, shown)


def covered(box, window, visible=1.0):
    """Box and visible share of one object after a window was covered; None if it is dropped."""
    left = cover(placed([box], [visible]), window)
    return (left.boxes_xyxy[0].tolist(), pytest.approx(left.visible[0])) if len(left.visible) else None


def test_a_paste_puts_exactly_the_object_s_pixels_there():
    source, canvas = noise((60, 60), [[10, 20, 40, 30]], [3]), placed([])
    patch = cut_out(source, source.boxes_xyxy[0])
    assert patch.solid == (SOFT_EDGE_PX, SOFT_EDGE_PX, SOFT_EDGE_PX + 30, SOFT_EDGE_PX + 10)
    before = canvas.image.copy()
    result = paste_patch(canvas, patch, (50, 60))
    x, y = 50 + SOFT_EDGE_PX, 60 + SOFT_EDGE_PX
    np.testing.assert_array_equal(result.image[y : y + 10, x : x + 30], source.image[20:30, 10:40])
    np.testing.assert_array_equal(result.boxes_xyxy, [[x, y, x + 30, y + 10]])
    assert (result.class_ids.tolist(), result.visible.tolist()) == ([3], [1])
    outside = np.ones((100, 100), dtype=bool)
    outside[60 : 60 + 10 + 2 * SOFT_EDGE_PX, 50 : 50 + 30 + 2 * SOFT_EDGE_PX] = False
    np.testing.assert_array_equal(result.image[outside], before[outside])
    np.testing.assert_array_equal(canvas.image, before)  # a copy; a cached image stays as it is


def test_around_the_object_its_image_fades_out_in_equal_steps():
    source = sample((60, 60), [[20, 20, 40, 40]], [0])
    source.image[:] = 200
    canvas = placed([])
    canvas.image[:] = 100
    row = paste_patch(canvas, cut_out(source, source.boxes_xyxy[0]), (10, 10)).image[25, :, 0]
    assert row[8:16].tolist() == [100, 100, 120, 140, 160, 180, 200, 200]
    assert row[32:40].tolist() == [200, 200, 180, 160, 140, 120, 100, 100]


def test_ignored_regions_of_both_images_are_there_after_a_paste():
    # From within the box to past its edge; and one elsewhere, which is not copied.
    source = with_regions(sample((60, 60), [[10, 20, 40, 30]], [3]), [[30, 20, 50, 60], [0, 0, 5, 5]])
    canvas = replace(placed([]), ignored_xyxy=np.float32([[1, 2, 3, 4]]))
    result = paste_patch(canvas, cut_out(source, source.boxes_xyxy[0]), (50, 60))
    x, y = 50 + SOFT_EDGE_PX, 60 + SOFT_EDGE_PX
    np.testing.assert_array_equal(result.ignored_xyxy, [[1, 2, 3, 4], [x + 20, y, x + 30, y + 10]])
    assert (result.image[y : y + 10, x + 20 : x + 30] == [250, 250, 0]).all()


def test_an_object_at_the_image_s_edge_has_no_border_there():
    source = noise((60, 60), [[0, 0, 20, 60]])
    patch = cut_out(source, source.boxes_xyxy[0])
    assert patch.content.image.shape == (60, 20 + SOFT_EDGE_PX, 3)
    assert patch.solid == (0, 0, 20, 60)


def test_a_box_over_the_edge_is_cut_and_says_how_much_is_left():
    source = noise((60, 60), [[-30, 10, 10, 20]])
    content = cut_out(source, source.boxes_xyxy[0]).content
    np.testing.assert_array_equal(content.boxes_xyxy, [[0, SOFT_EDGE_PX, 10, SOFT_EDGE_PX + 10]])
    assert content.visible.tolist() == [0.25]


def test_fractions_of_pixels_are_cut_out_whole_and_the_box_keeps_them():
    source = noise((60, 60), [[10.25, 10.5, 19.75, 20.5]])
    patch = cut_out(source, source.boxes_xyxy[0])
    assert patch.solid == (4, 4, 14, 15)
    np.testing.assert_array_equal(patch.content.boxes_xyxy, [[4.25, 4.5, 13.75, 14.5]])


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 11.9, 30],
        [10, 10, 30, 11.9],
        [10, 10, 10, 10],
        [-20, 0, -5, 20],
        [70, 70, 90, 90],
        [-95, 10, 5, 30],  # a twentieth of it is in the image
    ],
)
def test_what_is_too_small_or_outside_is_not_cut_out(box):
    source = noise((60, 60), [box])
    assert cut_out(source, source.boxes_xyxy[0]) is None
    assert paste_objects(placed([]), source, np.random.default_rng(0)).boxes_xyxy.shape == (0, 4)


def test_a_patch_brings_along_what_else_it_shows_and_no_slivers():
    neighbours = [[0, 0, 20, 20], [10, 0, 30, 20], [18, 0, 38, 20], [19, 0, 39, 20]]  # half, a tenth, 1 of 20
    source = noise((60, 60), neighbours, [0, 1, 2, 3])
    content = cut_out(source, source.boxes_xyxy[0]).content
    assert content.class_ids.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(content.boxes_xyxy, [[0, 0, 20, 20], [10, 0, 20, 20], [18, 0, 20, 20]])
    assert content.visible == pytest.approx([1, 0.5, MIN_VISIBLE])


@pytest.mark.parametrize(
    ("window", "left"),
    [
        pytest.param((0, 0, 10, 10), ([20, 20, 60, 40], 1.0), id="beside it"),
        pytest.param((0, 0, 20, 100), ([20, 20, 60, 40], 1.0), id="up to its edge"),
        pytest.param((10, 20, 30, 40), ([30, 20, 60, 40], 0.75), id="its left quarter"),
        pytest.param((50, 0, 90, 90), ([20, 20, 50, 40], 0.75), id="its right quarter"),
        pytest.param((0, 0, 90, 25), ([20, 25, 60, 40], 0.75), id="its top quarter"),
        pytest.param((20, 35, 60, 50), ([20, 20, 60, 35], 0.75), id="its bottom quarter"),
        pytest.param((10, 10, 40, 30), ([20, 20, 60, 40], 0.75), id="a corner: the box stays"),
        pytest.param((30, 0, 50, 100), ([20, 20, 60, 40], 0.5), id="its middle: the box stays"),
        pytest.param((30, 25, 40, 35), ([20, 20, 60, 40], 0.875), id="a hole: the box stays"),
        pytest.param((0, 0, 56, 100), ([56, 20, 60, 40], 0.1), id="a tenth is left: kept"),
        pytest.param((0, 0, 57, 100), None, id="less than a tenth is left"),
        pytest.param((20, 20, 60, 40), None, id="all of it"),
        pytest.param((0, 0, 100, 100), None, id="more than all of it"),
    ],
)
def test_a_box_shrinks_to_what_is_left_where_a_whole_side_is_cut(window, left):
    assert covered([20, 20, 60, 40], window) == left


def test_what_was_cut_before_counts_too():
    assert covered([20, 20, 60, 40], (40, 0, 100, 100), visible=0.2) == ([20, 20, 40, 40], 0.1)
    assert covered([20, 20, 60, 40], (40, 0, 100, 100), visible=0.19) is None


def test_covering_nothing_keeps_everything():
    assert cover(placed([]), (0, 0, 50, 50)).boxes_xyxy.shape == (0, 4)


def test_pasted_objects_lie_inside_and_hide_no_other_too_much():
    crowd = [[x, y, x + 18, y + 18] for x in range(0, 100, 20) for y in range(0, 100, 20)]
    source = noise((100, 100), [[10, 10, 30, 30], [50, 50, 62, 70], [0, 60, 30, 75]])
    pasted = 0
    for seed in range(30):
        canvas = placed(crowd)
        result = paste_objects(canvas, source, np.random.default_rng(seed))
        assert len(result.visible) >= len(crowd)
        pasted += len(result.visible) - len(crowd)
        assert (result.visible >= (1 - MAX_HIDDEN) ** 3 - 1e-6).all()  # three at most were pasted
        assert (result.boxes_xyxy >= 0).all()
        assert (result.boxes_xyxy <= 100).all()
    assert pasted > 5


def test_where_everything_would_be_hidden_nothing_is_pasted():
    canvas = placed(
        [[0, 0, 100, 100], *([x, y, x + 10, y + 10] for x in range(0, 100, 10) for y in (0, 50, 90))]
    )
    source = noise((100, 100), [[5, 5, 95, 95]])
    for seed in range(20):
        result = paste_objects(canvas, source, np.random.default_rng(seed))
        np.testing.assert_array_equal(result.image, canvas.image)
        np.testing.assert_array_equal(result.boxes_xyxy, canvas.boxes_xyxy)


@pytest.mark.parametrize(
    ("side", "pastes"),
    [(32 - 2 * SOFT_EDGE_PX, True), (33 - 2 * SOFT_EDGE_PX, False)],
    ids=["fits", "too large"],
)
def test_an_object_has_to_fit_with_its_border(side, pastes):
    source = noise((60, 60), [[10, 10, 10 + side, 10 + side]])
    result = paste_objects(placed([], image_hw=(32, 32)), source, np.random.default_rng(0))
    assert len(result.class_ids) == pastes


def test_an_image_without_objects_has_nothing_to_paste():
    canvas, rng = placed([[10, 10, 20, 20]]), np.random.default_rng(0)
    assert paste_objects(canvas, sample((60, 60), [], []), rng) is canvas
    assert rng.random() == np.random.default_rng(0).random()  # and nothing is drawn


def test_of_a_crowd_only_some_are_pasted_and_not_always_as_many():
    crowd = noise((100, 100), [[x, y, x + 4, y + 4] for x in range(2, 98, 8) for y in range(2, 98, 8)])
    counts = {
        len(paste_objects(placed([]), crowd, np.random.default_rng(seed)).class_ids) for seed in range(60)
    }
    assert counts == set(range(1, MAX_OBJECTS + 1))


def test_a_pasted_object_keeps_its_colour_and_class_together():
    source = sample((60, 60), [[10, 10, 20, 20], [30, 30, 50, 45]], [1, 2])
    canvas = sample((100, 100), [], [])
    for seed in range(10):
        empty = Placed(canvas.image, canvas.boxes_xyxy, canvas.class_ids, np.zeros(0, dtype=np.float32))
        result = paste_objects(empty, source, np.random.default_rng(seed))
        assert len(result.class_ids) >= 1
        for (x1, y1, x2, y2), class_id in zip(result.boxes_xyxy.astype(int), result.class_ids, strict=True):
            colour = [250 * (class_id == channel) for channel in range(3)]
            if result.visible.min() == 1:
                assert (result.image[y1:y2, x1:x2] == colour).all()
    assert (canvas.image == GREY).all()
