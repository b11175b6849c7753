"""The label files of `predict` are read as the labels of a YOLO folder: they can be corrected and learned."""

import cv2
import numpy as np
import pytest

from training.data.masks import Mask
from training.data.open import open_dataset
from training.data_config import FolderConfig
from training.predict.result import Result
from training.predict.rows import label_rows

HW = (60, 80)
BOXES = np.array([[10, 20, 30, 50], [4.5, 6.25, 77, 59], [40, 2, 50, 9]], np.float32)


def read_back(root, labels, description="", **shapes):
    """Write the label file of three objects, and return how the format's reader reads it."""
    image = np.full((*HW, 3), 40, np.uint8)
    found = Result(
        name="a.png",
        image=image,
        boxes_xyxy=BOXES,
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        class_ids=np.array([1, 0, 1]),
        model_classes=("cat", "dog"),
        routings={},
        seconds=0.1,
        **shapes,
    )
    for folder in ("images", "labels"):
        (root / folder / "train").mkdir(parents=True)
    cv2.imwrite(str(root / "images" / "train" / "a.png"), image)
    rows = label_rows(found, conf=False)
    (root / "labels" / "train" / "a.txt").write_text("\n".join(rows), encoding="utf-8")
    (root / "data.yaml").write_text(f"names: [cat, dog]\n{description}", encoding="utf-8")
    dataset = open_dataset(FolderConfig(root=str(root), labels=labels))
    sample = dataset.load(0)
    assert sample.class_ids.tolist() == [1, 0, 1]
    return sample


def test_boxes(tmp_path):
    np.testing.assert_allclose(read_back(tmp_path, "boxes").boxes_xyxy, BOXES, atol=1e-3)


def test_masks_without_holes_come_back_pixel_by_pixel(tmp_path):
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(3):
        rough = cv2.GaussianBlur(rng.random((40, 50)).astype(np.float32), (0, 0), 4) > 0.5
        count, parts = cv2.connectedComponents(np.pad(~rough, 1, constant_values=True).astype(np.uint8))
        assert count > 1
        masks.append(
            Mask(int(rng.integers(0, 30)), int(rng.integers(0, 20)), (parts != parts[0, 0])[1:-1, 1:-1])
        )
    assert len({mask.bitmap.sum() for mask in masks}) == 3
    sample = read_back(tmp_path, "masks", masks=tuple(masks))
    for found, wanted in zip(sample.masks, masks, strict=True):
        np.testing.assert_array_equal(found.on(HW), wanted.on(HW))


def test_keypoints_with_those_that_are_not_seen_left_out(tmp_path):
    points = np.random.default_rng(1).random((3, 4, 3)).astype(np.float32) * [80, 60, 0.5] + [0, 0, 0.5]
    points[1, 2, 2] = 0.49
    points[2, 0, 0] = 80.5  # beyond the image, where nobody can label
    sample = read_back(tmp_path, "keypoints", "kpt_shape: [4, 3]\n", keypoints=points.astype(np.float32))
    wanted = points.copy()
    wanted[..., 2] = 2
    wanted[1, 2] = wanted[2, 0] = 0
    np.testing.assert_allclose(sample.keypoints, wanted, atol=1e-3)
    np.testing.assert_allclose(sample.boxes_xyxy, BOXES, atol=1e-3)


@pytest.mark.parametrize("beyond", [0, 30], ids=["inside the image", "partly outside"])
def test_corners(tmp_path, beyond):
    half = np.array([[-8, -3], [8, -3], [8, 3], [-8, 3]])
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in (0.4, 1.9, 2.9)]
    centers = ((40, 30), (30, 20), (50 + beyond, 40))
    corners = np.array(
        [half @ turn.T + center for turn, center in zip(turns, centers, strict=True)], np.float32
    )
    sample = read_back(tmp_path, "corners", corners=corners)
    np.testing.assert_allclose(sample.corners, corners, atol=1e-3)
