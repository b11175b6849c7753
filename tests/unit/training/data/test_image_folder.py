"""Folders of images for each class."""

import cv2
import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image, write_xml
from training.data.open import open_dataset
from training.data.readers.image_folder import ImageFolderDataset
from training.data_config import CombinedConfig, FolderConfig
from training.errors import DatasetError


def folder(root, split="train", **asked):
    return open_dataset(FolderConfig(root=str(root), split=split, **asked))


def filled(root, classes, splits=("train", "val")):
    """Return two images a class and split, the second with an upper-case suffix."""
    for split in splits:
        for name in classes:
            write_image(root / split / name / "1.jpg")
            write_image(root / split / name / "2.PNG")
    return root


def test_classes_are_the_folders_sorted_and_images_know_theirs(tmp_path):
    dataset = folder(filled(tmp_path, ("paper", "glass", "Metal")))
    assert isinstance(dataset, ImageFolderDataset)
    assert dataset.class_names == ("Metal", "glass", "paper")
    samples = [dataset.load(index) for index in range(len(dataset))]
    assert [sample.image_class for sample in samples] == [0, 0, 1, 1, 2, 2]
    assert [sample.name for sample in samples][:3] == ["Metal/1", "Metal/2", "glass/1"]
    assert all(len(sample.boxes_xyxy) == 0 for sample in samples)
    assert [int(dataset.class_ids(index)[0]) for index in range(6)] == [0, 0, 1, 1, 2, 2]
    assert dataset.encoded(1) == (tmp_path / "train" / "Metal" / "2.PNG").read_bytes()


@pytest.mark.parametrize("there", ["val", "valid", "validation"])
@pytest.mark.parametrize("asked", ["val", "valid", "validation"])
def test_val_valid_and_validation_mean_the_same(tmp_path, there, asked):
    assert len(folder(filled(tmp_path, ("a", "b"), splits=("train", there)), asked)) == 4


def test_a_split_may_lack_images_of_a_class(tmp_path):
    filled(tmp_path, ("a", "b", "c"), splits=("train",))
    write_image(tmp_path / "val" / "b" / "1.jpg")
    (tmp_path / "val" / "c").mkdir()
    dataset = folder(tmp_path, "val")
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.load(0).image_class == 1


def unsplit(root, count=40):
    for name in ("a", "b"):
        for number in range(count):
            image = np.full((8, 8, 3), number * 5 + (name == "b"), dtype=np.uint8)
            path = root / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return root


def test_without_split_folders_about_every_fifth_image_is_held_out(tmp_path):
    unsplit(tmp_path)
    names = {}
    for split in ("train", "val"):
        dataset = folder(tmp_path, split)
        assert dataset.class_names == ("a", "b")
        names[split] = {dataset.load(index).name for index in range(len(dataset))}
    assert not names["train"] & names["val"]
    assert len(names["train"] | names["val"]) == 80
    assert 8 <= len(names["val"]) <= 24, "a fifth of 80 is 16"


def test_a_copy_of_an_image_is_held_out_with_it(tmp_path):
    unsplit(tmp_path)
    held_out = folder(tmp_path, "val").load(0).name
    original = tmp_path / f"{held_out}.png"
    (original.parent / "copy.png").write_bytes(original.read_bytes())
    names = [folder(tmp_path, "val").load(index).name for index in range(len(folder(tmp_path, "val")))]
    assert f"{original.parent.name}/copy" in names


def test_without_split_folders_there_are_no_others(tmp_path):
    with pytest.raises(DatasetError, match="no folder for split 'test'; without split folders there are"):
        folder(unsplit(tmp_path), "test")


@pytest.mark.parametrize(
    ("spoil", "split", "message"),
    [
        pytest.param(
            lambda root: (root / "train" / "c").mkdir(), "train", "c: no images of this class", id="empty"
        ),
        pytest.param(
            lambda root: write_image(root / "val" / "d" / "1.jpg"),
            "val",
            "has no class of that name",
            id="new",
        ),
        pytest.param(
            lambda root: None, "test", "no folder for split 'test'; there are train, val", id="split"
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, spoil, split, message):
    filled(tmp_path, ("a", "b"))
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=message):
        folder(tmp_path, split)


def test_one_class_is_too_few_and_two_are_enough(tmp_path):
    filled(tmp_path, ("a",))
    with pytest.raises(DatasetError, match="a is the only class; a classifier needs at least two"):
        folder(tmp_path)
    filled(tmp_path, ("b",))
    assert len(folder(tmp_path)) == 4


def test_images_without_class_folders_are_of_no_format_and_the_message_says_what_is(tmp_path):
    write_image(tmp_path / "train" / "1.jpg")
    with pytest.raises(DatasetError, match="a folder of images for each class"):
        folder(tmp_path)
    with pytest.raises(DatasetError, match="train: no class folders; put the images of each class into"):
        ImageFolderDataset(tmp_path, "train")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    filled(tmp_path, ("a", "b"))
    (tmp_path / "train" / "a" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"train/a/1\.jpg: this is not an image"):
        folder(tmp_path).load(0)


def test_a_folder_of_yolo_without_its_list_of_names_is_not_taken_for_classes(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "images" / "1.jpg")
    with pytest.raises(DatasetError, match=r"no known format; looked for data\.yaml"):
        folder(tmp_path)


def test_boxes_beside_images_are_still_boxes(tmp_path):
    filled(tmp_path, ("a", "b"))
    write_xml(tmp_path / "train" / "a" / "1.xml", [("cat", 1, 1, 9, 9)])
    dataset = folder(tmp_path)
    assert (dataset.class_names, dataset.load(0).boxes_xyxy.tolist()) == (("cat",), [[1, 1, 9, 9]])


def test_classes_of_another_order_or_data_are_refused(tmp_path):
    filled(tmp_path, ("a", "b"))
    assert len(folder(tmp_path, class_names=("a", "b"))) == 4
    with pytest.raises(DatasetError, match="give data with the same classes in the same order"):
        folder(tmp_path, class_names=("b", "a"))


def test_folds_and_combinations_keep_the_class_of_each_image(tmp_path):
    filled(tmp_path / "one", ("a", "b"))
    filled(tmp_path / "two", ("c", "d"))
    part = folder(tmp_path / "one", folds=2, kept=(1,))
    assert [part.load(index).name for index in range(len(part))] == ["a/2", "b/2"]
    parts = tuple(FolderConfig(root=str(tmp_path / name), split="train") for name in ("one", "two"))
    both = open_dataset(CombinedConfig(parts=parts))
    assert both.class_names == ("a", "b", "c", "d")
    assert [both.load(index).image_class for index in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [int(both.class_ids(index)[0]) for index in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_images_that_are_passed_over_are_counted(tmp_path):
    filled(tmp_path, ("a", "b"))
    write_image(tmp_path / "train" / "a" / "more" / "3.jpg")
    for name in ("4.heic", "5.HEIC", "._6.heic", "notes.txt"):
        (tmp_path / "train" / "b" / name).write_bytes(b"x")
    assert {what: count for what, count in folder(tmp_path).remarks.items() if count} == {
        "images in a format that is not read (.heic), left out": 2,
        "images in subfolders of a class, left out": 1,
    }
