"""Masks, keypoints and oriented boxes of generated scenes fit what is painted."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.unit.training.data.small_data import extent
from training.data.open import open_dataset
from training.data.scenes import objects as scene_objects
from training.data.scenes import scenes
from training.data.scenes.objects import RAY_SKELETON, RAY_SPOTS, Pose
from training.data.scenes.scenes import ORIENTED_CLASSES, ScenesDataset, paint
from training.data_config import ScenesConfig

SIZE = (160, 192)


def black():
    return np.zeros((*SIZE, 3), dtype=np.float32)


def white(thing):
    """Return the object in one opaque colour, so that its pixels can be counted."""
    return replace(thing, paint=lambda u, v: (np.full((*u.shape, 3), 255, np.float32), np.ones_like(u)))


def alone(thing):
    """Return the pixels of an object painted on its own, (H, W)."""
    canvas = black()
    paint(canvas, [white(thing)])
    return canvas[..., 0] >= 127.5


def things_of(monkeypatch, dataset, index):
    """Return the sample of a scene, and the objects of which it was painted."""
    placed = []
    place = scenes.place

    def remember(*args):
        placed.extend(place(*args))
        return placed

    with monkeypatch.context() as patched:
        patched.setattr(scenes, "place", remember)
        return dataset.load(index), placed


def test_masks_are_the_pixels_that_later_objects_leave_visible(monkeypatch):
    dataset = ScenesDataset(12, 3, SIZE, "masks")
    cut = 0
    for index in range(12):
        sample, things = things_of(monkeypatch, dataset, index)
        pixels = [alone(thing) for thing in things]
        wanted = []
        for order, own in enumerate(pixels):
            later = zip(things[order + 1 :], pixels[order + 1 :], strict=True)
            hidden = np.logical_or.reduce([black()[..., 0] > 0, *(p for t, p in later if not t.see_through)])
            visible = own & ~hidden
            cut += int((visible != own).any())
            if visible.sum() >= 0.15 * own.sum() and min(np.ptp(np.argwhere(visible), axis=0)) >= 1:
                wanted.append(visible)
        assert len(sample.masks) == len(wanted) == len(sample.class_ids)
        for mask, box, expected in zip(sample.masks, sample.boxes_xyxy, wanted, strict=True):
            np.testing.assert_array_equal(mask.on(SIZE), expected)
            assert box.tolist() == extent(expected)
    assert cut > 5  # objects that others cover are among them


def test_scenes_with_masks_are_those_with_boxes():
    for index in range(6):
        plain, masked = (ScenesDataset(6, 2, SIZE, labels).load(index) for labels in ("boxes", "masks"))
        np.testing.assert_array_equal(plain.image, masked.image)
        np.testing.assert_array_equal(plain.boxes_xyxy, masked.boxes_xyxy)
        np.testing.assert_array_equal(plain.class_ids, masked.class_ids)
        assert plain.masks is None


@pytest.mark.parametrize("angle", [0.0, 1.1, -2.4])
def test_keypoints_lie_in_their_spots(angle):
    canvas = black()
    (shown,) = paint(canvas, [scene_objects.ray(Pose(95.3, 80.7, 60.0, angle), np.random.default_rng(0))])
    for (x, y, visibility), colour in zip(shown.keypoints, RAY_SPOTS, strict=True):
        np.testing.assert_allclose(canvas[int(y), int(x)], colour, atol=0.01)
        assert visibility == 2


def test_left_is_the_rays_own_left():
    """A ray that swims upwards has its left fin at the left of the image, and its nose at the top."""
    ray = scene_objects.ray(Pose(95.0, 80.0, 60.0, -np.pi / 2), np.random.default_rng(0))
    nose, left, right, root, tip = ray.keypoints
    assert left[0] < 95 < right[0]
    assert nose[1] < left[1] < root[1] < tip[1]


def test_a_mirrored_ray_is_a_ray_with_its_fins_swapped():
    def painted(x, angle):
        canvas = black()
        (shown,) = paint(canvas, [scene_objects.ray(Pose(x, 80.0, 50.0, angle), np.random.default_rng(4))])
        return canvas, shown.keypoints

    image, points = painted(100.0, 0.7)
    other, other_points = painted(SIZE[1] - 100.0, np.pi - 0.7)
    mirror = image[:, ::-1]
    # OpenCV's polygons are up to a quarter of a pixel larger at one side than at the other.
    inside = cv2.erode((np.minimum(mirror, other).max(axis=2) > 0).astype(np.uint8), np.ones((5, 5))) > 0
    assert inside.sum() > 1500
    np.testing.assert_allclose(mirror[inside], other[inside], atol=0.05)
    mirrored = points[list(RAY_SKELETON.flip_ids)] * [-1, 1, 1] + [SIZE[1], 0, 0]
    np.testing.assert_allclose(mirrored, other_points, atol=1e-4)


def test_covered_points_are_hidden_and_points_outside_are_not_labelled():
    rng = np.random.default_rng(0)
    ray = scene_objects.ray(Pose(40.0, 80.0, 60.0, np.pi), rng)  # nose at x = -10.4, tail at x = 94
    card = scene_objects.card(Pose(100.0, 80.0, 25.0, 0.0), rng)
    found = paint(black(), [ray, card])[0].keypoints
    assert found[:, 2].tolist() == [0, 2, 2, 2, 1]
    assert found[0].tolist() == [0, 0, 0]
    beneath = paint(black(), [card, ray])[1].keypoints
    assert beneath[:, 2].tolist() == [0, 2, 2, 2, 2]
    ring = scene_objects.ring_cell(Pose(94.0, 80.0, 30.0, 0.0), rng)
    assert paint(black(), [ray, ring])[0].keypoints[4, 2] == 2  # visible through the cell


def test_keypoints_of_scenes_lie_in_their_boxes_unless_hidden():
    dataset = ScenesDataset(30, 1, SIZE, "keypoints")
    assert (dataset.class_names, dataset.skeleton) == (("ray",), RAY_SKELETON)
    seen = set()
    for index in range(30):
        sample = dataset.load(index)
        assert sample.keypoints.shape == (len(sample.class_ids), 5, 3)
        for box, points in zip(sample.boxes_xyxy, sample.keypoints, strict=True):
            seen |= set(points[:, 2].tolist())
            visible = points[points[:, 2] == 2, :2]
            assert (visible >= box[:2]).all()
            assert (visible <= box[2:]).all()
    assert seen == {0, 1, 2}


def test_corners_hold_the_whole_outline_tightly(monkeypatch):
    dataset = ScenesDataset(9, 5, SIZE, "corners")
    assert dataset.class_names == ORIENTED_CLASSES
    classes = set()
    for index in range(9):
        sample, things = things_of(monkeypatch, dataset, index)
        outlines = [thing.outline for thing in things]
        for box, class_id, corners in zip(
            sample.boxes_xyxy, sample.class_ids, sample.corners.astype(np.float64), strict=True
        ):
            classes.add(int(class_id))
            # Of each outline, the smallest distance of its points to each of the four sides, inwards.
            sides = np.roll(corners, -1, axis=0) - corners
            inwards = np.column_stack([-sides[:, 1], sides[:, 0]]) / np.hypot(*sides.T)[:, None]
            gaps = [
                [((outline - corner) @ normal).min() for corner, normal in zip(corners, inwards, strict=True)]
                for outline in outlines
            ]
            assert min(np.abs(gap).max() for gap in gaps) < 1e-3
            assert abs(sides[0] @ sides[1]) < 1e-2  # right angles
            assert np.hypot(*sides[0]) > np.hypot(*sides[1])  # the width axis is the longer one
            shown = np.clip(corners, 0, SIZE[::-1])
            assert box.tolist() == [*shown.min(axis=0), *shown.max(axis=0)]
    assert classes == {0, 1, 2}


def test_corners_of_an_upright_object_begin_at_the_top_left():
    card = scene_objects.card(Pose(50.0, 40.0, 20.0, 0.0), np.random.default_rng(0))
    x, y = 20 * 0.82, 20 * 0.82 * 0.7
    wanted = [[50 - x, 40 - y], [50 + x, 40 - y], [50 + x, 40 + y], [50 - x, 40 + y]]
    np.testing.assert_allclose(card.corners(), wanted)


@pytest.mark.parametrize("labels", ["boxes", "masks", "keypoints", "corners"])
def test_a_configuration_chooses_the_labels(labels):
    sample = open_dataset(ScenesConfig(images=3, image_hw=(64, 64), labels=labels)).load(0)
    given = {name for name in ("masks", "keypoints", "corners") if getattr(sample, name) is not None}
    assert given == {labels} - {"boxes"}
