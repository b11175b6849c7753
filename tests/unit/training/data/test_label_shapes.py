"""Masks, keypoints and oriented boxes that readers of labels keep beside boxes."""

import json
import logging

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from tests.unit.training.data.small_data import write_image
from training.data.labels.mirrored_names import flip_ids
from training.data.labels.orientation import upright_bitmap, upright_points
from training.data.labels.oriented import smallest_rectangle
from training.data.labels.remarks import DIFFICULT, WITHOUT
from training.data.open import open_dataset
from training.data.readers.coco import read_coco
from training.data.readers.dota import read_dota
from training.data.readers.yolo_txt import read_yolo
from training.data_config import FolderConfig
from training.errors import DatasetError

POLYGON = [2.0, 3.0, 12.5, 4.0, 9.0, 15.2]


def coco_root(root, annotations, **category):
    write_image(root / "images" / "train" / "one.png")
    document = {
        "images": [{"id": 1, "file_name": "one.png", "height": 20, "width": 30}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": [2 + i, 3, 10, 12], **each}
            for i, each in enumerate(annotations)
        ],
        "categories": [{"id": 1, "name": "cat", **category}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    return root


def test_coco_polygons_and_both_kinds_of_runs_are_the_same_mask(tmp_path):
    runs = coco_mask.frPyObjects([POLYGON], 20, 30)[0]
    expected = coco_mask.decode(runs).astype(bool)
    flat = expected.T.ravel()
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat]))).tolist()
    counts = np.diff([0, *ends, flat.size]).tolist()
    root = coco_root(
        tmp_path,
        [
            {"segmentation": [POLYGON]},
            {"segmentation": {"size": [20, 30], "counts": bytes(runs["counts"]).decode()}},
            {"segmentation": {"size": [20, 30], "counts": counts}},
        ],
    )
    dataset = read_coco(root, "train", labels="masks")
    masks = dataset.load(0).masks
    assert masks is not None
    assert expected.any()
    for mask in masks:
        np.testing.assert_array_equal(mask.on((20, 30)), expected)
    assert read_coco(root, "train").load(0).masks is None


def test_runs_that_do_not_fill_their_size_are_refused(tmp_path):
    root = coco_root(tmp_path, [{"segmentation": {"size": [20, 30], "counts": [5, 5]}}])
    with pytest.raises(DatasetError, match="segmentation is neither polygons nor a whole run-length"):
        read_coco(root, "train", labels="masks")


def test_coco_keypoints_names_and_edges(tmp_path):
    root = coco_root(
        tmp_path,
        [{"keypoints": [5, 6, 2, 9, 9, 0, 7.5, 8, 1]}, {}],
        keypoints=["nose", "left_eye", "right_eye"],
        skeleton=[[1, 2], [1, 3]],
    )
    dataset = read_coco(root, "train", labels="keypoints")
    assert dataset.skeleton is not None
    assert dataset.skeleton.flip_ids == (0, 2, 1)
    assert dataset.skeleton.edges == ((0, 1), (0, 2))
    np.testing.assert_array_equal(
        dataset.load(0).keypoints, [[[5, 6, 2], [0, 0, 0], [7.5, 8, 1]], np.zeros((3, 3))]
    )
    assert dataset.remarks[WITHOUT["keypoints"]] == 1


def test_two_numbers_of_keypoints_are_refused(tmp_path):
    root = coco_root(tmp_path, [{"keypoints": [5, 6, 2]}], keypoints=["nose", "tail"])
    with pytest.raises(DatasetError, match="objects with 1 and 2 keypoints"):
        read_coco(root, "train", labels="keypoints")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["nose", "left_eye", "right_eye"], (0, 2, 1)),
        (["eyeL", "eyeR"], (1, 0)),
        (["l_hip", "r_hip", "hip"], (1, 0, 2)),
        (["hand_right", "hand_left"], (1, 0)),
        (["L1", "L2", "R1", "R2"], (2, 3, 0, 1)),
        (["paw1LH", "paw2LF", "paw3RF", "paw4RH"], (3, 2, 1, 0)),
    ],
)
def test_names_tell_which_keypoints_are_mirrored(names, expected):
    assert flip_ids(names, "a.json") == expected


def test_names_without_sides_warn(caplog):
    with caplog.at_level(logging.WARNING):
        assert flip_ids(["head", "tail"], "a.json") == (0, 1)
    assert "will not swap" in caplog.text


def yolo_root(root, text, extra="", labels="labels"):
    write_image(root / "images" / "train" / "one.png")
    (root / labels / "train").mkdir(parents=True)
    (root / labels / "train" / "one.txt").write_text(text)
    (root / "data.yaml").write_text(f"names: [cat]\ntrain: images/train\n{extra}")
    return root


def test_yolo_outlines_are_masks_and_boxes_rectangles(tmp_path):
    fractions = " ".join(str(v / (20 if i % 2 else 30)) for i, v in enumerate([3, 4, 15, 4, 15, 14]))
    root = yolo_root(tmp_path, f"0 {fractions}\n0 0.5 0.5 0.2 0.2\n")
    dataset = read_yolo(root, "train", labels="masks")
    triangle, box = dataset.load(0).masks
    expected = coco_mask.decode(coco_mask.frPyObjects([[3, 4, 15, 4, 15, 14]], 20, 30)[0])
    np.testing.assert_array_equal(triangle.on((20, 30)), expected.astype(bool))
    assert (box.left, box.top, box.bitmap.shape, box.bitmap.all()) == (12, 8, (4, 6), True)
    assert dataset.remarks[WITHOUT["masks"]] == 1


def test_yolo_keypoints_with_two_columns(tmp_path):
    root = yolo_root(tmp_path, "0 .5 .5 .2 .2 .5 .5 0 0\n", "kpt_shape: [2, 2]\nflip_idx: [1, 0]\n")
    dataset = read_yolo(root, "train", labels="keypoints")
    assert dataset.skeleton is not None
    assert dataset.skeleton.flip_ids == (1, 0)
    np.testing.assert_array_equal(dataset.load(0).keypoints, [[[15, 10, 2], [0, 0, 0]]])


def test_yolo_oriented_boxes_beside_images(tmp_path):
    root = yolo_root(tmp_path, "0 .5 .25 .6 .4 .5 .55 .4 .4\n", labels="labels_obb")
    corners = read_yolo(root, "train", labels="corners").load(0).corners
    np.testing.assert_allclose(corners, [[[15, 5], [18, 8], [15, 11], [12, 8]]], rtol=1e-6)


def test_an_oriented_box_of_three_points_is_refused(tmp_path):
    root = yolo_root(tmp_path, "0 .5 .25 .6 .4 .5 .55\n")
    with pytest.raises(DatasetError, match=r"one\.txt:1: 7 columns; an oriented box has 9"):
        read_yolo(root, "train", labels="corners")


def dota_root(root, text):
    write_image(root / "images" / "one.png")
    (root / "labelTxt").mkdir()
    (root / "labelTxt" / "one.txt").write_text(text)
    return root


def test_dota_corners_and_difficult_objects(tmp_path):
    text = "imagesource:x\ngsd:0.1\n10 4 14 8 10 12 6 8 ship 0\n1 1 5 1 5 5 1 5 plane 2\n"
    config = FolderConfig(root=str(dota_root(tmp_path, text)), labels="corners")
    dataset = open_dataset(config)
    sample = dataset.load(0)
    assert dataset.class_names == ("plane", "ship")
    np.testing.assert_array_equal(sample.corners, [[[10, 4], [14, 8], [10, 12], [6, 8]]])
    np.testing.assert_array_equal(sample.boxes_xyxy, [[6, 4, 14, 12]])
    np.testing.assert_array_equal(sample.ignored_xyxy, [[1, 1, 5, 5]])
    assert dataset.remarks[DIFFICULT] == 1


def test_a_malformed_dota_line_is_named(tmp_path):
    root = dota_root(tmp_path, "10 4 14 8 10 12 6 8 ship 0\n1 1 5 1 ship 0\n")
    with pytest.raises(DatasetError, match=r"one\.txt:2: 6 columns"):
        read_dota(root, "train")


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_bitmaps_turn_as_points_do(turn):
    stored = np.zeros((20, 30), dtype=bool)
    stored[4, 7] = True
    row, column = np.argwhere(upright_bitmap(stored, turn))[0]
    x, y = upright_points(np.array([[7.5, 4.5]]), turn, (30, 20))[0]
    assert (column + 0.5, row + 0.5) == (x, y)


def test_the_smallest_rectangle_is_no_larger_than_any_turned_one():
    points = np.random.default_rng(0).normal(size=(30, 2)) * [5, 2]
    found = smallest_rectangle(points)
    area = np.linalg.norm(found[1] - found[0]) * np.linalg.norm(found[2] - found[1])
    angles = np.linspace(0, np.pi / 2, 20001)
    u = points @ np.array([np.cos(angles), np.sin(angles)])
    v = points @ np.array([-np.sin(angles), np.cos(angles)])
    tried = (np.ptp(u, axis=0) * np.ptp(v, axis=0)).min()
    assert area == pytest.approx(tried, rel=1e-3)
    assert area <= tried * (1 + 1e-9)


def test_formats_without_masks_say_so(tmp_path):
    config = FolderConfig(root=str(dota_root(tmp_path, "")), labels="masks")
    with pytest.raises(DatasetError, match="has no masks; formats with them: yolo, coco"):
        open_dataset(config)


def test_polygons_and_runs_follow_an_image_that_exif_turns(tmp_path):
    runs = coco_mask.frPyObjects([POLYGON], 20, 30)[0]
    compressed = {"size": [20, 30], "counts": bytes(runs["counts"]).decode()}
    root = coco_root(tmp_path, [{"segmentation": compressed}, {"segmentation": [POLYGON]}])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(root / "images" / "train" / "one.png", exif=exif)
    sample = read_coco(root, "train", labels="masks").load(0)
    assert sample.image.shape[:2] == (30, 20)
    of_runs, of_polygon = sample.masks
    clockwise = np.rot90(coco_mask.decode(runs).astype(bool), -1)
    np.testing.assert_array_equal(of_runs.on((30, 20)), clockwise)
    x, y = POLYGON[::2], POLYGON[1::2]
    turned = [each for pair in zip([20 - v for v in y], x, strict=True) for each in pair]
    expected = coco_mask.decode(coco_mask.frPyObjects([turned], 30, 20)[0]).astype(bool)
    np.testing.assert_array_equal(of_polygon.on((30, 20)), expected)
