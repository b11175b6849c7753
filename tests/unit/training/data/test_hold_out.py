import cv2
import numpy as np
import pytest

from training.data.open import open_dataset
from training.data_config import FolderConfig
from training.errors import ConfigError, DatasetError


@pytest.fixture
def root(tmp_path):
    """Forty images that differ; no validation split."""
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "00.txt").write_text("0 0.5 0.5 1 1")
    for number in range(40):
        image = np.full((4, 4, 3), number, dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number:02}.png"), image)
    return tmp_path


def held(root, share=0.25, *, held_out=True):
    """Return the grey values of the images on one side."""
    dataset = open_dataset(FolderConfig(root=str(root), hold_out=share, held_out=held_out))
    return {int(dataset.load(index).image[0, 0, 0]) for index in range(len(dataset))}


def test_the_two_sides_share_no_image_and_miss_none(root):
    validation, training = held(root), held(root, held_out=False)
    assert validation | training == set(range(40))
    assert not validation & training
    assert 4 <= len(validation) <= 16


def test_an_image_stays_on_its_side_when_files_are_renamed_and_added(root):
    before = held(root)
    for path in (root / "images").iterdir():
        path.rename(path.with_stem(f"z{99 - int(path.stem)}"))
    (root / "labels" / "00.txt").rename(root / "labels" / "z99.txt")
    cv2.imwrite(str(root / "images" / "new.png"), np.full((4, 4, 3), 200, dtype=np.uint8))
    assert held(root) - {200} == before


def test_copies_of_an_image_are_on_the_same_side(root):
    for path in list((root / "images").iterdir()):
        path.with_stem(f"copy-{path.stem}").write_bytes(path.read_bytes())
    assert not held(root) & held(root, held_out=False)


@pytest.mark.parametrize("share", [1e-9, 0.5, 1 - 1e-9])
def test_two_images_are_one_for_each_side_whatever_the_share(root, share):
    for path in sorted((root / "images").iterdir())[2:]:
        path.unlink()
    assert (len(held(root, share)), len(held(root, share, held_out=False))) == (1, 1)


def test_images_that_are_all_alike_cannot_be_divided(root):
    files = sorted((root / "images").iterdir())
    for path in files[1:]:
        path.write_bytes(files[0].read_bytes())
    with pytest.raises(DatasetError, match="40 images with the same bytes cannot be divided"):
        held(root)


@pytest.mark.parametrize("share", [-0.1, 1.0, 20.0, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(ConfigError, match=r"must be at least 0 and less than 1"):
        FolderConfig(root="x", hold_out=share)


def test_a_missing_validation_split_says_that_images_can_be_held_out(root):
    with pytest.raises(DatasetError, match=r"--hold-out 0\.2"):
        open_dataset(FolderConfig(root=str(root), split="val"))


def test_class_folders_whose_images_are_divided_already_are_refused(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(8):
            image = np.full((4, 4, 3), 8 * number + (name == "dog"), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), image)
    with pytest.raises(DatasetError, match="about every fifth image is in the split val"):
        held(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "train" / name)
    assert len(held(tmp_path)) + len(held(tmp_path, held_out=False)) == 16


def test_a_single_image_cannot_be_divided(root):
    for path in sorted((root / "images").iterdir())[1:]:
        path.unlink()
    with pytest.raises(
        DatasetError, match="a single image cannot be divided; add images or leave --hold-out"
    ):
        held(root)
