"""Masks and keypoints of COCO files, against the COCO API's own rasteriser and by hand."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from training.data.evaluation import Truth
from training.data.images.letterbox import scale_sample
from training.data.labels.remarks import WITHOUT
from training.data.masks import Mask, RunLengths
from training.data.readers.coco import read_coco
from training.evaluate.detections import Detections
from training.evaluate.matches import match_by_class
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.objects.masks import MASKS

HW = (30, 40)
L_SHAPE = [[2, 3, 20, 3, 20, 9, 9, 9, 9, 25, 2, 25]]


def written(root: Path, annotations: list[dict[str, Any]], category: dict[str, Any] | None = None) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    cv2.imwrite(str(root / "images/one.png"), np.zeros((*HW, 3), np.uint8))
    rows = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [2, 3, 18, 22], "iscrowd": 0, **each}
        for i, each in enumerate(annotations)
    ]
    document = {
        "images": [{"id": 1, "file_name": "one.png", "height": HW[0], "width": HW[1]}],
        "categories": [{"id": 1, "name": "thing", **(category or {})}],
        "annotations": rows,
    }
    (root / "annotations/instances_train.json").write_text(json.dumps(document))
    return root


def drawn() -> np.ndarray:
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(L_SHAPE, *HW)))).astype(bool)


def as_counts(mask: np.ndarray) -> list[int]:
    flat = mask.T.reshape(-1)
    bounds = np.flatnonzero(np.diff(flat.astype(int), prepend=0)).tolist()
    return np.diff([0, *bounds, len(flat)]).tolist()


def test_every_form_of_an_outline_gives_the_same_mask(tmp_path: Path) -> None:
    whole = drawn()
    compressed = coco_mask.encode(np.asfortranarray(whole.astype(np.uint8)))["counts"].decode()
    forms = [
        L_SHAPE,
        {"size": list(HW), "counts": as_counts(whole)},
        {"size": list(HW), "counts": compressed},
    ]
    assert whole.sum() > 100
    for form in forms:
        again = written(tmp_path / str(forms.index(form)), [{"segmentation": form}])
        masks = read_coco(again, "train", labels="masks").load(0).masks
        assert masks is not None
        np.testing.assert_array_equal(masks[0].on(HW), whole)


def test_an_object_without_an_outline_has_its_box_as_mask(tmp_path: Path) -> None:
    masks = read_coco(written(tmp_path / "data", [{}]), "train", labels="masks").load(0).masks
    expected = np.zeros(HW, dtype=bool)
    expected[3:25, 2:20] = True
    assert masks is not None
    np.testing.assert_array_equal(masks[0].on(HW), expected)


def test_without_being_asked_no_shape_is_kept(tmp_path: Path) -> None:
    sample = read_coco(written(tmp_path / "data", [{"segmentation": L_SHAPE}]), "train").load(0)
    assert (sample.masks, sample.keypoints) == (None, None)


POINTS = {"keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]}


def test_keypoints_come_with_their_skeleton(tmp_path: Path) -> None:
    rows = [{"keypoints": [5, 6, 2, 9, 9, 1, 7, 7, 0]}, {"bbox": [1, 1, 4, 4]}]
    dataset = read_coco(written(tmp_path / "data", rows, POINTS), "train", labels="keypoints")
    assert dataset.skeleton is not None
    assert dataset.skeleton.names == ("nose", "left_ear", "right_ear")
    assert dataset.skeleton.flip_ids == (0, 2, 1)
    assert dataset.skeleton.edges == ((0, 1), (0, 2))
    found = dataset.load(0).keypoints
    expected = np.zeros((2, 3, 3))
    expected[0, :2] = [[5, 6, 2], [9, 9, 1]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shapes_turn_with_the_image(tmp_path: Path, orientation: int) -> None:
    rows = [{"segmentation": L_SHAPE, "keypoints": [5, 6, 2, 6, 20, 1, 19, 4, 2]}]
    root = written(tmp_path / "data", rows, POINTS)
    whole = drawn()
    stored = Image.fromarray(np.repeat(whole[..., None].astype(np.uint8) * 255, 3, axis=2))
    for x, y in ((5, 6), (6, 20), (19, 4)):
        stored.putpixel((x, y), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(root / "images/one.png", exif=exif)
    masked = read_coco(root, "train", labels="masks").load(0)
    pointed = read_coco(root, "train", labels="keypoints").load(0)
    assert masked.masks is not None
    assert pointed.keypoints is not None
    if orientation < 5:  # the labels are then taken to refer to the upright image
        np.testing.assert_array_equal(masked.masks[0].on(HW), whole)
        return
    np.testing.assert_array_equal(masked.masks[0].on(masked.image.shape[:2]), masked.image[..., 0] > 127)
    red = (pointed.image[..., 0] > 127) & (pointed.image[..., 1] < 128)
    # A pixel's corner turns into another corner of the turned pixel: the point is at one of its four.
    for x, y, _ in pointed.keypoints[0]:
        around = red[max(int(y) - 1, 0) : int(y) + 1, max(int(x) - 1, 0) : int(x) + 1]
        assert around.any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of segmentation is not"),
        ([[1, 2, 3, 4, 5, float("inf")]], "a polygon of segmentation is not"),
        ({"size": [30, 40], "counts": [1, 2]}, "neither polygons nor a whole"),
        ({"size": [30], "counts": "04"}, "neither polygons nor a whole"),
        ({"size": [30, 40]}, "neither polygons nor a whole"),
    ],
)
def test_an_outline_that_is_none_is_left_out_and_named(
    tmp_path: Path, segmentation: object, message: str
) -> None:
    rows = [{"segmentation": L_SHAPE, "bbox": [1, 1, 5, 5]}, {"segmentation": segmentation}]
    dataset = read_coco(written(tmp_path / "data", rows), "train", labels="masks")
    assert any(message in reason for reason in dataset.remarks)
    assert len(dataset.load(0).class_ids) == 1


def test_an_outline_of_two_points_counts_as_none(tmp_path: Path) -> None:
    root = written(tmp_path / "data", [{"segmentation": [[1, 2, 3, 4]]}])
    dataset = read_coco(root, "train", labels="masks")
    masks = dataset.load(0).masks
    assert masks is not None
    assert masks[0].on(HW).sum() == 18 * 22, "the box"
    assert dataset.remarks[WITHOUT["masks"]] == 1


def test_regions_to_ignore_have_their_outlines_or_else_their_boxes_as_masks(tmp_path: Path) -> None:
    rows = [
        {"segmentation": L_SHAPE},
        {"segmentation": {"size": list(HW), "counts": as_counts(drawn())}, "iscrowd": 1},
        {"bbox": [5, 4, 10, 6], "ignore": 1},
    ]
    root = written(tmp_path, rows)
    sample = read_coco(root, "train", labels="masks").load(0)
    assert sample.ignored_xyxy.tolist() == [[2, 3, 20, 25], [5, 4, 15, 10]]
    assert sample.ignored_masks is not None
    crowd, box = (mask.on(HW) for mask in sample.ignored_masks)
    np.testing.assert_array_equal(crowd, drawn())
    assert (box.sum(), box[4:10, 5:15].all()) == (60, True)
    assert scale_sample(sample, (60, 80)).ignored_masks is None
    assert read_coco(root, "train").load(0).ignored_masks is None
    assert read_coco(root, "train", labels="corners").load(0).ignored_masks is None


def test_only_inside_the_mask_of_a_crowd_is_a_detection_neither_right_nor_wrong(tmp_path: Path) -> None:
    rows = [
        {"segmentation": [[25, 3, 35, 3, 35, 13, 25, 13]], "bbox": [25, 3, 10, 10]},
        {"segmentation": {"size": list(HW), "counts": as_counts(drawn())}, "iscrowd": 1},
    ]
    truth = Truth.of(read_coco(written(tmp_path, rows), "train", labels="masks").load(0))
    boxes = [(3, 4, 9, 20), (12, 12, 20, 24), (25, 3, 35, 13)]  # in the crowd's mask, only in its box, right
    found = Detections(
        np.array(boxes, np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.zeros(3, np.int64),
        tuple(RunLengths.of(Mask(x, y, np.ones((y2 - y, x2 - x), bool)), HW) for x, y, x2, y2 in boxes),
    )
    matches = match_by_class([truth], [found], 1, kind=MASKS)
    assert matches.right.tolist() == [False, True]
    assert mean_average_precision([truth], [found], ("thing",), MASKS).map50 == pytest.approx(0.5)
    of_boxes = mean_average_precision([truth], [found], ("thing",))
    assert of_boxes.map50 == pytest.approx(1)  # of a box, all of the crowd's box is ignored
