"""Service and clients draw with the same file, and what it draws is where the coordinates say."""

import colorsys
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from service.pipeline.image_drawing import Objects, draw_classes, draw_objects

ROOT = Path(__file__).parents[2]
COPIES = ("service/pipeline", "clients")
GREY = 100


def test_the_copies_are_byte_for_byte_the_same():
    assert len({(ROOT / folder / "image_drawing.py").read_bytes() for folder in COPIES}) == 1


def colour(number, lightness=0.48):
    hue = (number * 137.5 + 168) % 360 / 360
    return [round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.78)]


def blank(height=200, width=200):
    return np.full((height, width, 3), GREY, np.uint8)


def has(image, number, lightness=0.48):
    """Return which pixels have the colour of a class or keypoint, (H, W)."""
    return (image == colour(number, lightness)).all(axis=-1)


FAR = [[9000, 9000], [9010, 9000], [9010, 9010], [9000, 9010]]  # a box outside of the image


def drawn(image, corners=(FAR,), class_ids=(0,), **more):
    objects = Objects(
        corners=np.array(corners, np.float32), class_ids=class_ids, texts=("x",) * len(class_ids), **more
    )
    draw_objects(image, objects)
    return image


def keypoints(*rows):
    return np.array([rows], np.float32)


def test_a_box_is_a_line_along_its_corners():
    image = drawn(blank(), [[[50, 60], [120, 60], [120, 150], [50, 150]]])
    rows, columns = np.nonzero(has(image, 0))
    edges = [rows.min(), columns.min(), rows.max(), columns.max()]
    assert edges == pytest.approx([60, 50, 150, 120], abs=2)
    assert (image[65:145, 55:115] == GREY).all(), "it is empty inside"


def test_the_pixels_of_a_mask_are_mixed_and_all_others_stay():
    mask = np.random.default_rng(3).random((90, 70)) < 0.5
    mask[:20], mask[:, 60:] = False, False
    image = drawn(blank(90, 70), mask=lambda row: mask)
    outlined = has(image, 0)
    mixed = [int(0.6 * GREY + 0.4 * part) for part in colour(0)]
    assert (image[mask & ~outlined] == mixed).all()
    assert (image[~mask] == GREY).all()
    padded = np.pad(mask, 1)
    surrounded = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2]
    surrounded &= padded[1:-1, 2:]
    assert (outlined == (mask & ~surrounded)).all(), "a mask's outermost pixels"


@pytest.mark.parametrize("height", [1, 3000])
def test_a_mask_is_mixed_in_blocks_of_rows(height):
    # Of 1000 columns, a block has 1048 rows.
    mask = np.ones((height, 1000), np.bool_)
    image = drawn(blank(height, 1000), mask=lambda row: mask)
    if height > 1:
        inside = image[20:-20, 20:-20].reshape(-1, 3)
        assert (inside == [int(0.6 * GREY + 0.4 * part) for part in colour(0)]).all()
    assert (image != GREY).any(axis=-1).all()


def test_an_empty_mask_changes_nothing():
    assert (drawn(blank(), mask=lambda row: np.zeros((200, 200), np.bool_)) == GREY).all()


def test_masks_are_asked_for_one_by_one_and_the_best_comes_last():
    asked, masks = [], []

    def mask(row):
        assert not any(one() is not None for one in masks), "another mask is still in memory"
        asked.append(row)
        bitmap = np.zeros((200, 200), np.bool_)
        bitmap[20:100, 20:100] = True
        masks.append(weakref.ref(bitmap))
        return bitmap

    image = drawn(blank(), [FAR] * 3, (0, 1, 2), mask=mask)
    assert asked == [2, 1, 0]
    assert has(image, 0)[20, 20:100].all(), "its outline covers the others"


def test_a_line_joins_two_keypoints_in_the_colour_of_the_class():
    points = keypoints([20, 50, 0.9], [120, 50, 0.5], [120, 150, 0.49])
    image = drawn(blank(), class_ids=(5,), keypoints=points, skeleton=[(0, 1), (1, 2)])
    rows, columns = np.nonzero(has(image, 5))
    assert [rows.min(), rows.max()] == pytest.approx([49, 51], abs=1)
    assert set(range(30, 110)) <= set(columns.tolist())
    assert has(image, 0)[47:53, 17:23].any()
    assert has(image, 1)[47:53, 117:123].any()
    assert (image[60:] == GREY).all(), "the third keypoint is not sure enough"


def test_keypoints_far_outside_or_without_a_place_do_no_harm():
    points = keypoints([1e30, -1e30, 1], [np.nan, np.inf, 1], [100, 100, 1])
    image = drawn(blank(), keypoints=points, skeleton=[(0, 1), (1, 2)])
    assert has(image, 2)[97:103, 97:103].any()


def test_lines_are_wider_in_a_larger_image():
    widths = []
    for scale in (1, 2, 4):
        points = keypoints([60 * scale, 300 * scale, 1], [540 * scale, 300 * scale, 1])
        image = drawn(blank(600 * scale, 600 * scale), keypoints=points, skeleton=[(0, 1)])
        widths.append(int((image[:, 300 * scale] != GREY).any(axis=-1).sum()))
    # Beside a line, some rows are smooth transitions, as many in each image.
    assert np.diff(widths).tolist() == pytest.approx([3, 6], abs=1)


def test_classes_are_lines_in_the_upper_left_corner_as_many_as_fit():
    image = blank(50, 200)
    draw_classes(image, [0, 1, 2, 3, 4], ["cat 0.50", "dog 0.20", "cow 0.10", "sheep 0.09", "hen 0.08"])
    tops = [np.nonzero(has(image, number, 0.26))[0] for number in range(5)]
    assert tops[0].min() == 0
    shown = [rows for rows in tops if len(rows)]
    assert 2 <= len(shown) < 5
    for upper, lower in pairwise(shown):
        assert 0 <= lower.min() - upper.max() <= 2
    assert (image[:, 150:] == GREY).all()
    tiny = blank(4, 4)
    draw_classes(tiny, [0], ["cat 0.50"])
    assert (tiny != GREY).any(), "at least the first one, however small the image"


def test_no_object_and_no_class_change_nothing():
    image = blank()
    draw_classes(image, [], [])
    draw_objects(image, Objects(corners=np.zeros((0, 4, 2), np.float32), class_ids=(), texts=()))
    assert (image == GREY).all()
