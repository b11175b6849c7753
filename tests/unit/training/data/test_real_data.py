"""The readers on published data sets, if SPARSIGHT_DATA names their folder."""

import os
from pathlib import Path

import numpy as np
import pytest

from training.data.labels.remarks import CROWDS, NO_AREA, NO_OBJECTS, REGIONS
from training.data.open import open_dataset
from training.data_config import FolderConfig

DATA = os.environ.get("SPARSIGHT_DATA")
pytestmark = pytest.mark.skipif(
    DATA is None,
    reason="SPARSIGHT_DATA does not name a folder with bccd/, aquarium/ and others",
)


def opened(name, split):
    return open_dataset(FolderConfig(root=str(Path(DATA) / name), split=split))


def test_bccd_has_its_published_counts():
    train, val = opened("bccd", "train"), opened("bccd", "val")
    assert (len(train), len(val)) == (205, 87)
    assert train.class_names == val.class_names == ("Platelets", "RBC", "WBC")
    assert train.remarks[NO_AREA] + val.remarks[NO_AREA] == 2  # a known defect of the set


def test_bccd_reads_one_known_file():
    val = opened("bccd", "val")
    names = Path(DATA, "bccd/ImageSets/Main/val.txt").read_text().split()
    train_names = Path(DATA, "bccd/ImageSets/Main/train.txt").read_text().split()
    split, names = (val, names) if "BloodImage_00000" in names else (opened("bccd", "train"), train_names)
    sample = split.load(names.index("BloodImage_00000"))
    assert sample.image.shape == (480, 640, 3)
    np.testing.assert_array_equal(sample.boxes_xyxy[:2], [[260, 177, 491, 376], [78, 336, 184, 435]])
    assert sample.class_ids[:2].tolist() == [2, 1]  # WBC, RBC


def test_aquarium_has_its_published_counts():
    train, valid = opened("aquarium", "train"), opened("aquarium", "val")
    assert (len(train), len(valid)) == (448, 127)
    assert train.class_names == ("fish", "jellyfish", "penguin", "puffin", "shark", "starfish", "stingray")
    samples = [valid.load(index) for index in range(0, 127, 9)]
    assert all((s.boxes_xyxy[:, 2:] <= [s.image.shape[1], s.image.shape[0]]).all() for s in samples)


def test_playing_cards_are_read_with_upper_case_suffixes():
    cards = opened("playing_cards", "train")
    assert len(cards) == 296
    assert cards.class_names == ("ace", "jack", "king", "nine", "queen", "ten")
    sample = cards.load(0)
    assert (sample.name, sample.image.shape) == ("IMG_2385", (504, 378, 3))
    np.testing.assert_array_equal(sample.boxes_xyxy, [[92, 183, 223, 348]])


@pytest.mark.parametrize(
    ("name", "split", "images", "objects", "regions", "remarks"),
    [
        pytest.param("coco_train2017_sample", "train", 92, 820, 9, {CROWDS: 9, NO_OBJECTS: 1}, id="COCO"),
        pytest.param("visdrone_sample", "all", 10, 621, 17, {REGIONS: 17}, id="VisDrone"),
        pytest.param("kitti_sample", "training", 3, 6, 4, {REGIONS: 4}, id="KITTI"),
        pytest.param("sku110k_sample", "val", 10, 1729, 0, {}, id="SKU-110K"),
    ],
)
def test_published_formats_are_read_whole(name, split, images, objects, regions, remarks):
    dataset = opened(name, split)
    samples = [dataset.load(index) for index in range(len(dataset))]
    assert len(samples) == images
    assert sum(len(sample.class_ids) for sample in samples) == objects
    assert sum(len(sample.ignored_xyxy) for sample in samples) == regions
    assert {what: count for what, count in dataset.remarks.items() if count} == remarks
    assert all(sample.class_ids.max(initial=0) < len(dataset.class_names) for sample in samples)


def test_coco_classes_are_the_80_in_the_order_of_their_ids():
    dataset = opened("coco_train2017_sample", "train2017")
    assert (dataset.class_names[0], dataset.class_names[11], dataset.class_names[79]) == (
        "person",
        "stop sign",  # id 13: there is no 12
        "toothbrush",
    )
    first = dataset.load(0)
    assert first.name == "000000000030"
    np.testing.assert_allclose(first.boxes_xyxy[0], [204.86, 31.02, 459.74, 355.14], rtol=1e-6)
    assert dataset.class_names[first.class_ids[0]] == "potted plant"
    assert first.areas[0] == pytest.approx(47675.6629)  # of the outline, less than its box


def test_trash_has_its_published_counts_and_a_class_for_each_image():
    train, val = opened("trash", "train"), opened("trash", "val")
    assert (len(train), len(val)) == (681, 228)
    assert train.class_names == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    samples = [val.load(index) for index in range(0, 228, 19)]
    assert {sample.image_class for sample in samples} == set(range(6))
    assert {sample.image.shape for sample in samples} == {(192, 256, 3)}


def test_masks_of_nuclei_have_their_stated_areas():
    dataset = open_dataset(FolderConfig(root=str(Path(DATA) / "nuclei"), split="val", labels="masks"))
    for sample in map(dataset.load, range(20)):
        assert [mask.bitmap.sum() for mask in sample.masks] == sample.areas.tolist()


def test_oriented_boxes_of_nuclei_are_as_large_as_those_in_labels_obb():
    config = FolderConfig(root=str(Path(DATA) / "nuclei"), split="val", labels="corners")
    dataset = open_dataset(config)
    for index in range(20):
        sample = dataset.load(index)
        rows = np.loadtxt(Path(DATA) / "nuclei" / "labels_obb" / "val" / f"{sample.name}.txt", ndmin=2)
        height, width = sample.image.shape[:2]
        stated = rows[:, 1:].reshape(-1, 4, 2) * [width, height]
        found = [_sides(each).prod() for each in sample.corners]
        np.testing.assert_allclose(found, [_sides(each).prod() for each in stated], rtol=1e-3)


def test_keypoints_of_mice_are_seven_and_the_unseen_at_zero():
    dataset = open_dataset(FolderConfig(root=str(Path(DATA) / "mouse_pose"), labels="keypoints"))
    keypoints = np.concatenate([dataset.load(index).keypoints for index in range(len(dataset))])
    assert keypoints.shape == (108, 7, 3)
    assert dataset.skeleton.names[-1] == "nose"
    unseen = keypoints[keypoints[..., 2] == 0]
    assert len(unseen) > 0
    assert not unseen.any()


def _sides(corners):
    return np.linalg.norm([corners[1] - corners[0], corners[2] - corners[1]], axis=1)
