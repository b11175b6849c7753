import logging
import os
from pathlib import Path
from unicodedata import normalize

import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import (
    IN_SUBFOLDERS,
    LISTED_ELSEWHERE,
    LISTED_TWICE,
    NO_IMAGE,
    OTHER_SPLITS,
    SHARED,
)
from training.data.readers.yolo_txt import read_yolo
from training.errors import DatasetError

ROW = "1 0.5 0.5 0.5 0.5\n"


def write(root, text="names: [cat, dog]\n", **pairs):
    """Write data.yaml and, for each image, a label file with one row; keys only tell the pairs apart."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(text)
    for image, label in pairs.values():
        write_image(root / image)
        if label:
            (root / label).parent.mkdir(parents=True, exist_ok=True)
            (root / label).write_text(ROW)


def names(dataset):
    return [dataset.load(index).name for index in range(len(dataset))]


def objects(dataset):
    return sum(len(dataset.class_ids(index)) for index in range(len(dataset)))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        pytest.param("train/images/a.png", "train/labels/a.txt", id="images in the split"),
        pytest.param("images/train/a.png", "labels/train/a.txt", id="the split in images"),
        pytest.param("train/a.png", "train/a.txt", id="labels beside images"),
        pytest.param("train/images/a.png", "train/Labels/a.txt", id="Labels in another case"),
        pytest.param("train/Images/a.png", "train/LABELS/a.TXT", id="both in another case"),
        pytest.param("train/images/x/y/a.png", "train/labels/x/y/a.txt", id="in subfolders"),
        pytest.param("train/images/images/a.png", "train/images/labels/a.txt", id="the last images counts"),
        pytest.param("train/images/a.png", "train/images/a.txt", id="beside images in a folder images"),
        pytest.param("train/images/a.png", "train/labels/a.png.txt", id="the suffix in the name"),
    ],
)
def test_a_label_file_is_found_beside_the_image_or_in_a_folder_labels(tmp_path, image, label):
    root = tmp_path / "images" / "set"  # a folder above is called images: it is never replaced
    write(root, "train: train\nnames: [cat, dog]\n", one=(image, label))
    if image.startswith("images"):
        write(root)
    assert objects(read_yolo(root, "train")) == 1


@pytest.mark.parametrize(
    "elsewhere", ["labels/a.txt", "../labels/train/images/a.txt", "train/txt/a.txt", None]
)
def test_images_without_any_label_file_are_refused(tmp_path, elsewhere):
    write(tmp_path / "set", "train: train/images\nnames: [cat]\n", one=("train/images/a.png", elsewhere))
    looked = r"1 images and not one label file; looked in .*train/labels, .*for a\.txt"
    with pytest.raises(DatasetError, match=looked):
        read_yolo(tmp_path / "set", "train")


@pytest.mark.parametrize(
    ("declared", "read"),
    [
        pytest.param("one", ["a"], id="a folder"),
        pytest.param("[one, two]", ["a", "b"], id="two folders"),
        pytest.param("list.txt", ["a", "c"], id="a list of images"),
        pytest.param("[two, list.txt]", ["b", "a", "c"], id="a folder and a list"),
        pytest.param("[one, list.txt]", ["a", "c"], id="an image in both, once"),
        pytest.param("[one/a.png]", ["a"], id="an image"),
        pytest.param("./one/", ["a"], id="a dot and slashes"),
        pytest.param("../one", ["a"], id="one folder above, as Roboflow writes"),
        pytest.param("' one '", ["a"], id="spaces around"),
        pytest.param("One", ["a"], id="in another case"),
        pytest.param("[ONE/, ..\\\\tWo]", ["a", "b"], id="two in another case, as Windows takes them"),
        pytest.param(".", ["a", "b", "c"], id="the whole folder"),
    ],
)
def test_a_declared_split_is_all_that_is_declared(tmp_path, declared, read):
    pairs = {
        f"{at}{name}": (f"{at}/{name}.png", f"{at}/{name}.txt")
        for at, name in zip(("one", "two", "three"), "abc", strict=True)
    }
    write(tmp_path, f"train: {declared}\nnames: [cat, dog]\n", **pairs)
    (tmp_path / "list.txt").write_text("one/a.png\nthree/c.png\n")
    (tmp_path / "images" / "train").mkdir(parents=True)  # a usual folder, which does not count here
    dataset = read_yolo(tmp_path, "train")
    assert (sorted(names(dataset)), objects(dataset)) == (sorted(read), len(read))
    assert dataset.remarks[LISTED_TWICE] == (declared == "[one, list.txt]")


@pytest.mark.parametrize(
    "line",
    [
        "{root}/sub/images/a.png",
        "sub/images/a.png",
        "./images/a.png",
        "images/a.png",
        "../sub/images/a.png",
        "data/sub/images/a.png",
        "/content/drive/mine/sub/images/a.png",
        "C:\\Users\\me\\sub\\images\\a.png",
        "  sub/images/a.png\r",
    ],
)
def test_a_listed_image_is_found_by_any_path_that_tools_write(tmp_path, line):
    write(tmp_path, "train: sub/list.txt\nnames: [cat, dog]\n", one=("sub/images/a.png", "sub/labels/a.txt"))
    (tmp_path / "sub" / "list.txt").write_text(f"\ufeff{line.format(root=tmp_path)}\nimages/gone.png\n")
    dataset = read_yolo(tmp_path, "train")
    assert (names(dataset), objects(dataset), dataset.remarks[NO_IMAGE]) == (["a"], 1, 1)


def test_a_listed_image_is_not_another_of_the_same_name(tmp_path):
    write(tmp_path, "train: list.txt\nnames: [cat, dog]\n", one=("a.png", "a.txt"), two=("cam/b.png", None))
    (tmp_path / "list.txt").write_text(f"cam/a.png\n{300 * 'x'} 1,2,3,4,0\n")  # the second is too long
    with pytest.raises(DatasetError, match=r"list\.txt: none of the 2 images is there; .*cam/a\.png"):
        read_yolo(tmp_path, "train")


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
@pytest.mark.parametrize("folder", ["val/images", "images/valid", "validation", "Images/Val", "VALID"])
def test_the_validation_split_answers_to_its_usual_names(tmp_path, split, folder):
    write(tmp_path, one=(f"{folder}/a.png", f"{folder.replace('images', 'labels')}/a.txt"))
    assert objects(read_yolo(tmp_path, split)) == 1


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        pytest.param("train: gone", "train", "train: gone does not exist; looked for", id="a folder"),
        pytest.param("train: [images/train, gone]", "train", "gone does not exist", id="one of two"),
        pytest.param("train: gone.txt", "train", r"gone\.txt does not exist", id="a list"),
        pytest.param("val: ../gone/images", "valid", "gone/images does not exist", id="validation"),
        pytest.param("train: /content/gone/images", "train", "/images does not exist", id="of elsewhere"),
        pytest.param(
            "val: images/train",
            "test",
            r"'test'; looked for test/images, .*; there are \['images/train', 'val'\]",
            id="not declared",
        ),
        pytest.param("val: []", "val", "no images are named for split 'val'", id="an empty list"),
        pytest.param("train: void", "train", "void: the split 'train' is empty; put images", id="empty"),
    ],
)
def test_a_declared_split_that_is_missing_is_refused(tmp_path, text, split, message):
    write(tmp_path, f"{text}\nnames: [cat, dog]\n", one=("images/train/a.png", "labels/train/a.txt"))
    (tmp_path / "void").mkdir()
    with pytest.raises(DatasetError, match=message):
        read_yolo(tmp_path, split)


def test_images_of_another_split_in_a_subfolder_are_left_out(tmp_path):
    write(
        tmp_path,
        "train: images\nval: images/val\nnames: [cat, dog]\n",
        a=("images/a.png", "labels/a.txt"),
        b=("images/cam/b.png", "labels/cam/b.txt"),
        c=("images/val/c.png", "labels/val/c.txt"),
        hidden=("images/.cache/d.png", None),
    )
    dataset = read_yolo(tmp_path, "train")
    assert (names(dataset), objects(dataset)) == (["a", "b"], 2)
    assert (dataset.remarks[OTHER_SPLITS], dataset.remarks[IN_SUBFOLDERS]) == (1, 1)
    assert names(read_yolo(tmp_path, "val")) == ["c"]


def test_images_of_one_name_in_two_folders_have_labels_of_their_own(tmp_path):
    pairs = {at: (f"images/{at}/a.png", f"labels/{at}/a.txt") for at in ("x", "y", "z")}
    write(tmp_path, "train: images\nnames: [cat, dog]\n", **pairs)
    (tmp_path / "labels" / "y" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    dataset = read_yolo(tmp_path, "train")
    assert [dataset.class_ids(index).tolist() for index in range(3)] == [[1], [0], [1]]


def test_two_images_whose_labels_are_one_file_are_refused(tmp_path):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    write_image(tmp_path / "images" / "a.jpg")
    with pytest.raises(DatasetError, match=r"a\.jpg and a\.png have the same labels"):
        read_yolo(tmp_path, "train")


def test_images_in_formats_that_are_not_read_are_counted(tmp_path):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    for name in ("b.heic", "c.HEIC", "d.dng", "readme.md"):
        (tmp_path / "images" / name).write_bytes(b"x")
    remarks = {what: count for what, count in read_yolo(tmp_path, "train").remarks.items() if count}
    assert remarks == {
        "images in a format that is not read (.heic), left out": 2,
        "images in a format that is not read (.dng), left out": 1,
    }


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".jpe", ".avif", ".TIFF", ".dib"])
def test_images_of_rarer_formats_are_read(tmp_path, suffix):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    kind = {".jfif": ".jpg", ".dib": ".bmp", ".jpe": ".jpg"}.get(suffix, suffix.lower())
    write_image(tmp_path / "images" / f"a{kind}", (40, 60))
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "images" / f"a{kind}").rename(tmp_path / "images" / f"a{suffix}")
    assert read_yolo(tmp_path, "train").load(0).image.shape == (40, 60, 3)


def test_a_link_that_leads_back_is_entered_once(tmp_path):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images", target_is_directory=True)
    assert names(read_yolo(tmp_path, "train")) == ["a"]


def test_a_folder_named_from_the_working_directory_replaces_no_folder_above_it(tmp_path, monkeypatch):
    root = tmp_path / "images" / "set"
    write(root, "train: list.txt\nnames: [cat, dog]\n", a=("a.png", "a.txt"))
    (root / "list.txt").write_text(f"{root}/a.png\n")
    (tmp_path / "labels" / "set").mkdir(parents=True)
    (tmp_path / "labels" / "set" / "a.txt").write_text("0 0.5 0.5 1 1\n0 0.5 0.5 0.5 1\n")
    monkeypatch.chdir(tmp_path / "images")
    assert read_yolo(Path("set"), "train").class_ids(0).tolist() == [1]


@pytest.mark.parametrize("val", ["val.txt", "[val.txt]", "images/cam/b.png", "[images/cam/b.png, val.txt]"])
def test_images_that_another_split_lists_are_left_out(tmp_path, val):
    write(
        tmp_path,
        f"train: images\nval: {val}\nnames: [cat, dog]\n",
        a=("images/a.png", "labels/a.txt"),
        b=("images/cam/b.png", "labels/cam/b.txt"),
    )
    (tmp_path / "val.txt").write_text("./images/cam/b.png\n")
    dataset = read_yolo(tmp_path, "train")
    assert (names(dataset), dataset.remarks[LISTED_ELSEWHERE]) == (["a"], 1)
    assert names(read_yolo(tmp_path, "val")) == ["b"]


@pytest.mark.parametrize("split", ["test", "minival", "val", "valid"])
def test_folders_of_any_other_split_are_left_out(tmp_path, split):
    write(
        tmp_path,
        f"train: images\n{split}: images/part\nnames: [cat, dog]\n",
        a=("images/a.png", "labels/a.txt"),
        b=("images/part/b.png", "labels/part/b.txt"),
    )
    assert names(read_yolo(tmp_path, "train")) == ["a"]


def test_a_folder_that_a_link_names_again_counts_once(tmp_path):
    write(
        tmp_path, "train: [images/x, images/y]\nnames: [cat, dog]\n", a=("images/x/a.png", "labels/x/a.txt")
    )
    (tmp_path / "images" / "y").symlink_to(tmp_path / "images" / "x", target_is_directory=True)
    dataset = read_yolo(tmp_path, "train")
    assert (names(dataset), dataset.remarks[LISTED_TWICE]) == (["a"], 1)


def test_links_that_lead_nowhere_are_missing_images(tmp_path):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    (tmp_path / "images" / "b.png").symlink_to(tmp_path / "gone.png")
    dataset = read_yolo(tmp_path, "train")
    assert (names(dataset), dataset.remarks[NO_IMAGE]) == (["a"], 1)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"is empty .*images whose file is missing"):
        read_yolo(tmp_path, "train")


@pytest.mark.parametrize("declared", ["../images", "list.txt", "../images/a.png"])
def test_a_path_above_a_linked_folder_leads_where_the_system_leads(tmp_path, declared):
    real = tmp_path / "real"
    write(real / "set", f"train: {declared}\nnames: [cat, dog]\n")
    write(real, a=("images/a.png", "labels/a.txt"))
    (real / "set" / "list.txt").write_text("../images/a.png\n")
    (tmp_path / "link").symlink_to(real / "set", target_is_directory=True)
    assert objects(read_yolo(tmp_path / "link", "train")) == 1


@pytest.mark.parametrize(("image", "label"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_an_accent_is_the_same_however_a_system_writes_it(tmp_path, image, label):
    stem, other = normalize(image, "träin/é"), normalize(label, "é")
    folder = stem.split("/")[0]
    write(tmp_path, one=(f"images/{stem}.png", f"labels/{folder}/{other}.txt"))
    for declared in (normalize(label, "images/träin"), "list.txt"):
        (tmp_path / "data.yaml").write_text(f"train: {declared}\nnames: [cat, dog]\n", encoding="utf-8")
        (tmp_path / "list.txt").write_text(normalize(label, "images/träin/é.png"), encoding="utf-8")
        assert objects(read_yolo(tmp_path, "train")) == 1


@pytest.mark.parametrize("line", ["images", "# comment", '"images/a.png"', "a", "images/a.png 1,2,3,4,0"])
def test_lines_that_are_no_path_of_an_image_are_counted_or_refused(tmp_path, line):
    write(tmp_path, "train: list.txt\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    (tmp_path / "list.txt").write_text(f"{line}\nimages/a.png\n")
    dataset = read_yolo(tmp_path, "train")
    assert dataset.remarks["lines of list.txt that are no path of an image, left out"] == 1
    assert not dataset.remarks[NO_IMAGE]
    (tmp_path / "list.txt").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=r"list\.txt: no line is the path of an image, the first is "):
        read_yolo(tmp_path, "train")


def test_a_list_in_utf_16_says_so(tmp_path):
    write(tmp_path, "train: list.txt\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    (tmp_path / "list.txt").write_bytes("images/a.png\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"list\.txt: not UTF-8 text .*; save it as UTF-8"):
        read_yolo(tmp_path, "train")


def test_a_subfolder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/x/a.png", "labels/x/a.txt"))
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("images/x"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DatasetError, match=r"images/x: cannot be read \(Permission denied\)"):
        read_yolo(tmp_path, "train")


def test_images_that_two_splits_list_are_counted(tmp_path):
    write(
        tmp_path,
        "train: train.txt\nval: [val.txt]\nnames: [cat, dog]\n",
        a=("images/a.png", "labels/a.txt"),
        b=("images/b.png", "labels/b.txt"),
    )
    (tmp_path / "train.txt").write_text("images/a.png\nimages/b.png\n")
    (tmp_path / "val.txt").write_text("./images/b.png\n")
    for split, read in (("train", ["a", "b"]), ("val", ["b"])):
        dataset = read_yolo(tmp_path, split)
        assert (names(dataset), dataset.remarks[SHARED]) == (read, 1)


def test_a_pipe_called_like_an_image_is_no_image(tmp_path):
    write(tmp_path, "train: images\nnames: [cat, dog]\n", a=("images/a.png", "labels/a.txt"))
    os.mkfifo(tmp_path / "images" / "b.png")
    assert names(read_yolo(tmp_path, "train")) == ["a"]


def test_a_folder_of_the_working_directory_is_said(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path / "here", pair=("pool/images/a.png", "pool/labels/a.txt"))
    write(tmp_path / "set", "train: pool/images\nnames: [cat, dog]\n")
    monkeypatch.chdir(tmp_path / "here")
    assert objects(read_yolo(tmp_path / "set", "train")) == 1
    assert f"train: pool/images is read from {tmp_path / 'here' / 'pool' / 'images'}" in caplog.text
