"""Files of data sets whose folders are links, as on disks that share images."""

from pathlib import Path

from tests.unit.training.data.small_data import write_image, write_xml
from training.data.labels.files_below import files_below
from training.data.open import open_dataset
from training.data_config import FolderConfig


def within(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in files_below(root)]


def test_files_are_found_in_subfolders_and_hidden_ones_are_skipped(tmp_path):
    for name in ("b.txt", "a.txt", ".hidden", "in/c.txt", ".git/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert within(tmp_path) == ["a.txt", "b.txt", "in/c.txt"]


def test_a_link_to_a_folder_is_followed_once_and_a_circle_ends(tmp_path):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "one.txt").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "first").symlink_to(tmp_path / "far")
    (root / "second").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(root)
    assert within(root) == ["first/deep/one.txt"]


def test_a_voc_folder_of_links_is_read(tmp_path):
    far, root = tmp_path / "far", tmp_path / "voc"
    for name in ("Annotations", "JPEGImages"):
        (far / name).mkdir(parents=True)
    write_image(far / "JPEGImages" / "one.png")
    write_xml(far / "Annotations" / "one.xml", [("fish", 2, 3, 12, 13)])
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("one\n")
    for name in ("Annotations", "JPEGImages"):
        (root / name).symlink_to(far / name)
    dataset = open_dataset(FolderConfig(root=str(root)))
    assert dataset.class_names == ("fish",)
    assert dataset.load(0).boxes_xyxy.tolist() == [[2, 3, 12, 13]]
