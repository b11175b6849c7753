"""Masks, keypoints and oriented boxes of a result: drawn, in label files, in JSON, and for supervision."""

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from faster_coco_eval import mask as coco_masks

from training.data.masks import Mask
from training.predict.draw import class_colour
from training.predict.outline import joined, outer_rings
from training.predict.result import Result
from training.predict.rows import as_document, label_rows

HW = (60, 80)


def result(boxes=((10, 20, 30, 50),), **values):
    count = len(boxes)
    return Result(
        name="a.png",
        image=np.full((*HW, 3), 40, np.uint8),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.5, count).astype(np.float32),
        class_ids=np.arange(count, dtype=np.int64),
        model_classes=("cat", "dog", "cow"),
        routings={},
        seconds=0.1,
        **values,
    )


def inside(rings, hw):
    """Return the pixels whose centres lie inside the rings, by counting crossings to the left, (H, W)."""
    y, x = np.mgrid[: hw[0], : hw[1]] + 0.5
    odd = np.zeros(hw, dtype=bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y1 != y2:
                crossing = x1 + (y - y1) / (y2 - y1) * (x2 - x1)
                odd ^= (min(y1, y2) < y) & (y < max(y1, y2)) & (crossing < x)
    return odd


def parts_and_filled(whole):
    """Return the number of parts, connected by sides, and the pixels with all holes filled."""
    count, _ = cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)
    outside = cv2.connectedComponents(
        np.pad(~whole, 1, constant_values=True).astype(np.uint8), connectivity=8
    )
    filled = outside[1][1:-1, 1:-1] != outside[1][0, 0]
    return count - 1, filled


@pytest.mark.parametrize("seed", range(20))
def test_rings_enclose_exactly_the_pixels_of_each_part(seed):
    rng = np.random.default_rng(seed)
    whole = rng.random((9, 12)) < (0.3 + 0.03 * seed)
    rings = outer_rings(Mask.of(whole))
    _, labels = cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)
    filled = [inside([ring], whole.shape) for ring in rings]
    parts = [labels == part for part in range(1, labels.max() + 1)]
    assert len(rings) == len(parts)
    for part in parts:  # each part fills the ring that is as wide and high as it, but for holes
        holding = [area for area in filled if not (part & ~area).any()]
        smallest = min(holding, key=np.sum)
        _, wanted = parts_and_filled(part)
        np.testing.assert_array_equal(smallest, wanted)


def test_rings_keep_to_corners_and_are_in_place():
    (ring,) = outer_rings(Mask(5, -2, np.ones((3, 4), dtype=bool)))
    assert ring.tolist() == [[5, -2], [9, -2], [9, 1], [5, 1]]
    assert outer_rings(Mask(0, 0, np.zeros((0, 0), dtype=bool))) == []


def test_joined_parts_enclose_the_same_pixels():
    whole = np.zeros((12, 20), dtype=bool)
    whole[1:4, 1:5] = whole[6:11, 8:12] = whole[2:5, 14:19] = True
    np.testing.assert_array_equal(inside([joined(outer_rings(Mask.of(whole)))], whole.shape), whole)


def test_label_rows_of_masks_are_outlines():
    square, nothing = Mask(20, 15, np.ones((30, 40), dtype=bool)), Mask(0, 0, np.zeros((0, 0), dtype=bool))
    found = result([[20, 15, 60, 45], [0, 0, 2, 2]], masks=(square, nothing))
    outline = "0.250000 0.250000 0.750000 0.250000 0.750000 0.750000 0.250000 0.750000"
    assert label_rows(found, conf=False) == [f"0 {outline}"]
    assert label_rows(found, conf=True) == [f"0 {outline} 0.900000"]


def test_label_rows_of_keypoints_follow_the_box():
    points = np.array([[[20, 30, 0.8], [40, 45, 0.2]]], np.float32)
    found = result([[0, 0, 40, 60]], keypoints=points, keypoint_names=("nose", "tail"))
    box = "0.250000 0.500000 0.500000 1.000000"
    seen = "0.250000 0.500000 2"
    assert label_rows(found, conf=True) == [f"0 {box} {seen} 0.000000 0.000000 0 0.900000"]


def rotated(x, y, width, height, degrees):
    turn = np.deg2rad(degrees)
    cos, sin = np.cos(turn), np.sin(turn)
    unturned = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    return unturned @ np.array([[cos, sin], [-sin, cos]]) + [x, y]


def test_label_rows_of_oriented_boxes_are_their_corners():
    corners = np.array([[[40, 15], [60, 30], [40, 45], [20, 30]]], np.float32)
    wanted = "0 0.500000 0.250000 0.750000 0.500000 0.500000 0.750000 0.250000 0.500000"
    assert label_rows(result(corners=corners), conf=False) == [wanted]


def test_masks_in_json_are_run_lengths_that_coco_reads():
    whole = np.random.default_rng(0).random(HW) < 0.5
    document = json.loads(json.dumps(as_document(result(masks=(Mask.of(whole),)))))
    (found,) = document["predictions"]
    np.testing.assert_array_equal(coco_masks.decode(found["mask"]).astype(bool), whole)
    assert found["mask"]["size"] == list(HW)
    assert (found["x"], found["y"], found["width"], found["height"]) == (20, 35, 20, 30)


def test_keypoints_in_json_have_names():
    points = np.array([[[20.25, 30, 0.75], [40, 45, 0.25]]], np.float32)
    (found,) = as_document(result(keypoints=points, keypoint_names=("nose", "tail")))["predictions"]
    assert found["keypoints"] == [
        {"name": "nose", "x": 20.25, "y": 30.0, "confidence": 0.75},
        {"name": "tail", "x": 40.0, "y": 45.0, "confidence": 0.25},
    ]


@pytest.mark.parametrize(
    ("degrees", "answered"), [(0, 0), (30, 30), (90, 90), (150, 150), (200, 20), (-10, 170)]
)
def test_oriented_boxes_in_json_are_unturned_boxes_with_rotation(degrees, answered):
    corners = rotated(40, 30, 24, 10, degrees)
    (found,) = as_document(result(corners=corners[None].astype(np.float32)))["predictions"]
    place = [found[side] for side in ("x", "y", "width", "height", "rotation")]
    np.testing.assert_allclose(place, [40, 30, 24, 10, answered], atol=2e-3)
    np.testing.assert_allclose(found["corners"], corners, atol=1e-3)


def test_a_rotation_just_below_180_is_none():
    corners = rotated(40, 30, 24, 10, -1e-5)[None]
    (found,) = as_document(result(corners=corners))["predictions"]
    assert found["rotation"] == 0


def test_supervision_gets_masks_corners_and_keypoints(monkeypatch):
    def key_points(xy, class_id, confidence, *, data):
        return SimpleNamespace(xy=xy, class_id=class_id, confidence=confidence, data=data)

    stand_in = SimpleNamespace(Detections=SimpleNamespace, KeyPoints=key_points)
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    mask = Mask(70, 50, np.ones((20, 5), dtype=bool))  # beyond the lower edge
    given = result(masks=(mask,)).to_supervision()
    assert given.mask.shape == (1, *HW)
    assert np.argwhere(given.mask[0]).min(axis=0).tolist() == [50, 70]
    assert given.mask.sum() == 10 * 5
    assert result([], masks=()).to_supervision().mask.shape == (0, *HW)

    corners = rotated(40, 30, 24, 10, 90)[None].astype(np.float32)
    given = result(corners=corners).to_supervision()
    np.testing.assert_allclose(given.xyxy, [[35, 18, 45, 42]], atol=1e-4)
    assert given.data["xyxyxyxy"] is corners

    points = np.array([[[20, 30, 0.75], [40, 45, 0.25]]], np.float32)
    given = result(keypoints=points, keypoint_names=("nose", "tail")).to_supervision()
    assert given.xy.tolist() == [[[20, 30], [40, 45]]]
    assert given.confidence.tolist() == [[0.75, 0.25]]
    assert given.data["score"].tolist() == pytest.approx([0.9])
    assert given.data["class_name"].tolist() == ["cat"]


def plain(**values):
    """Return the drawing of an object whose box and label are at the lower right, out of the way."""
    return result([[70, 50, 79, 59]], **values).plot()


def test_a_mask_is_mixed_with_its_colour_inside_a_contour():
    drawn = plain(masks=(Mask(10, 5, np.ones((20, 24), dtype=bool)),))
    colour = np.array(class_colour(0))
    np.testing.assert_array_equal(drawn[15, 20], (40 + colour) // 2)
    for y, x in ((5, 10), (24, 33), (5, 33)):  # the contour is on the mask's outermost pixels
        np.testing.assert_array_equal(drawn[y, x], colour)
    for y, x in ((4, 10), (25, 20), (15, 9), (15, 34)):
        np.testing.assert_array_equal(drawn[y, x], 40)


def test_masks_beyond_the_image_are_cut():
    beyond = Mask(-8, -8, np.ones((12, 12), dtype=bool))
    drawn = plain(masks=(beyond,))
    assert (drawn[:4, :4] != 40).any(axis=2).all()
    assert (drawn[4:8, :8] == 40).all()
    for off in (Mask(-50, 0, beyond.bitmap), Mask(0, -50, beyond.bitmap), Mask(90, 0, beyond.bitmap)):
        np.testing.assert_array_equal(plain(masks=(off,)), plain())


def test_keypoints_and_edges_are_drawn_where_they_are_visible():
    points = np.array([[[10.5, 10.5, 0.9], [40.5, 10.5, 0.9], [40.5, 35.5, 0.3]]], np.float32)
    names, skeleton = ("a", "b", "c"), ((0, 1), (1, 2))
    drawn = plain(keypoints=points, keypoint_names=names, skeleton=skeleton)
    np.testing.assert_array_equal(drawn[10, 10], class_colour(0))
    np.testing.assert_array_equal(drawn[10, 40], class_colour(1))
    np.testing.assert_array_equal(drawn[10, 25], class_colour(0))  # the edge, in the colour of the class
    assert (drawn[20:38, 30:50] == 40).all()  # neither the third point nor its edge


def test_an_oriented_box_is_drawn_along_its_sides():
    corners = rotated(40, 35, 40, 20, 40)[None].astype(np.float32)
    coloured = (result(corners=corners).plot() == class_colour(0)).all(axis=2)[25:]  # below the label
    drawn = np.argwhere(coloured)[:, ::-1] + [0.5, 25.5]
    share = np.linspace(0, 1, 200)[:, None]
    ends = zip(corners[0], np.roll(corners[0], -1, axis=0), strict=True)
    sides = np.concatenate([one + share * (other - one) for one, other in ends])
    sides = sides[sides[:, 1] > 26]
    assert len(sides) > 400
    distances = np.hypot(*(sides[:, None] - drawn).transpose(2, 0, 1))
    assert distances.min(axis=1).max() < 1  # every point of the sides is drawn
    below = drawn[:, 1] > 27
    assert distances[:, below].min(axis=0).max() < 1  # nothing else is, neither the box of boxes_xyxy
