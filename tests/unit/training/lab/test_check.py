"""`check` prints what is understood of a data set, and fails where nothing can be learned."""

import cv2
import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image, write_xml
from tests.unit.training.yolo_folder import BOX, write_split
from training.__main__ import main


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def rows_of(report):
    """Return the cells of each line of the report."""
    return [line.split() for line in report.splitlines()]


def test_the_report_counts_objects_by_class_and_by_size(capsys, tmp_path):
    # 200 px images: 40 × 40 is medium for COCO, 20 × 20 small, 100 × 100 large; at 100 px half as long.
    first = "0 0.5 0.5 0.2 0.2\n0 0.2 0.2 0.1 0.1\n1 0.5 0.5 0.5 0.5"
    write_split(tmp_path / "data", "train", [first, "1 0.5 0.5 0.5 0.015", ""], (200, 200))
    write_split(tmp_path / "data", "val", [BOX], (200, 200))
    assert main(["check", "data", "--input", "100", "--quiet"]) == 0
    said = capsys.readouterr().out
    train, val = tmp_path / "data/images/train", tmp_path / "data/images/val"
    assert f"{tmp_path / 'data'}: format yolo, recognised by data.yaml" in said
    assert "task detect, sizes at --input 100" in said
    assert f"train: 3 images, 1 of them without objects, 4 objects, in {train}\n" in said
    assert f"val: 1 images, 0 of them without objects, 1 objects, in {val}\n" in said
    rows = rows_of(said)
    # images, objects, small, medium, large, median px, under 2 px
    assert ["cat", "1", "2", "1", "1", "0", "15", "0"] in rows
    assert ["dog", "2", "2", "1", "0", "1", "29", "1"] in rows  # 100 × 3 px: √(50 · 1.5) = 8.7 at the input
    assert ["all", "2", "4", "2", "1", "1", "15", "1"] in rows
    assert "train: images without objects, kept: 1" in said
    assert "train: 1 of 4 objects are less than 2 px wide or high at --input 100" in said
    assert "val: no object of dog; the mean leaves them out" in said
    assert "drew 2 images of train with their labels into check.png" in said
    assert cv2.imread("check.png") is not None


def test_a_third_split_is_reported_and_a_missing_validation_split_is_said(capsys, tmp_path):
    write_split(tmp_path / "data", "train", [BOX, BOX])
    write_split(tmp_path / "data", "test", [BOX])
    assert main(["check", "--data", "data", "--quiet", "--output", "a.jpg"]) == 0
    said = capsys.readouterr().out
    assert "test: 1 images, 0 of them without objects, 1 objects" in said
    assert "  val: " in said
    assert "no images for split 'val'" in said
    assert (tmp_path / "a.jpg").exists()


def test_a_test_split_without_labels_is_a_remark_and_no_failure(capsys, tmp_path):
    for split, rows in (("train", BOX), ("val", BOX), ("test", "")):
        write_split(tmp_path / "data", split, [rows])
    assert main(["check", "data", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "test: 1 images and no labelled object to measure on" in captured.out
    assert captured.err == ""
    assert main(["check", "data", "--quiet", "--val-split", "test"]) == 1


def test_voc_folders_and_their_remarks(capsys, tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / "data" / split / "one.png", (64, 64))
        write_xml(tmp_path / "data" / split / "one.xml", [("ace", 5, 5, 5, 9), ("ace", 5, 5, 25, 25)])
    assert main(["check", "data", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "format voc" in said
    assert "train: boxes without area, left out: 1" in said
    assert "validating on what is trained on, which flatters the mAP50-95" in said


def test_folders_of_classes_are_checked_for_classification(capsys, tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("oak", "elm"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(2 + (split == "train")):
                image = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)
                cv2.imwrite(str(tmp_path / "data" / split / name / f"{number}.png"), image)
    (tmp_path / "data/train/oak/0.png").write_bytes((tmp_path / "data/train/elm/0.png").read_bytes())
    assert main(["check", "data", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "task classify, sizes at --input 224" in said
    assert f"train: 6 images, in {tmp_path / 'data/train/elm'}, {tmp_path / 'data/train/oak'}\n" in said
    assert ["oak", "3"] in rows_of(said)
    assert ["all", "4"] in rows_of(said)
    assert "train: copies of other images: 1 (" in said


@pytest.mark.parametrize(
    ("rows", "argv", "message"),
    [
        pytest.param(["", ""], (), "train: 2 images and no labelled object to learn from", id="no object"),
        pytest.param(["0 0.5 0.5 0.02 0.02"], ("--input", "64"), "train: all 1 objects are less", id="small"),
        pytest.param([BOX], ("--classes", "dog"), "no labelled object to learn from", id="another class"),
    ],
)
def test_where_nothing_can_be_learned_the_exit_code_is_1(capsys, tmp_path, rows, argv, message):
    write_split(tmp_path / "data", "train", rows)
    write_split(tmp_path / "data", "val", [BOX])
    assert main(["check", "data", "--quiet", *argv]) == 1
    assert message in capsys.readouterr().err


def test_every_image_that_cannot_be_decoded_is_found_and_the_others_are_drawn(capsys, tmp_path):
    write_split(tmp_path / "data", "train", [BOX] * 4)
    write_split(tmp_path / "data", "val", [BOX])
    broken = [tmp_path / "data/images/train" / f"{number}.png" for number in (0, 2)]
    for path in broken:
        path.write_bytes(b"no image")
    assert main(["check", "data", "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "train: 2 of 4 images cannot be decoded" in captured.err
    assert all(str(path) in captured.err for path in broken)
    assert "drew 2 images" in captured.out


def test_no_data_is_wrong_usage(capsys):
    assert main(["check"]) == 2
    assert "check takes a data set" in capsys.readouterr().err


def test_images_that_would_be_held_out_are_a_split_of_their_own(capsys, tmp_path):
    write_split(tmp_path / "data", "train", [BOX] * 8)
    assert main(["check", "data/data.yaml", "--hold-out", "0.3", "--quiet"]) == 0
    report = capsys.readouterr().out
    assert "test:" not in report  # nobody asked for a test split
    said = rows_of(report)
    counts = [int(row[row.index("images,") - 1]) for row in said if "images," in row and "objects," in row]
    assert sum(counts) == 8
    assert min(counts) > 0


def test_look_says_the_same_of_the_training_images(capsys, tmp_path):
    write_split(tmp_path / "data", "train", [BOX, BOX, ""])
    write_split(tmp_path / "data", "val", [BOX])
    argv = ["look", "--data", "data", "--input", "64", "--output", "a.png", "--quiet"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "training labels: images without objects, kept: 1" in said
    assert "training data: no object of dog; the model cannot learn them" in said
    write_split(tmp_path / "data", "train", ["", "", ""])
    assert main(argv) == 0
    assert "no labelled object to learn from" in capsys.readouterr().err


OUTLINE = "1 0.1 0.1 0.6 0.1 0.6 0.5 0.1 0.3"  # with four corners: also of an oriented box


def test_the_task_decides_which_labels_are_read_and_drawn(capsys, tmp_path):
    write_split(tmp_path / "data", "train", [OUTLINE, f"{OUTLINE}\n{BOX}"])
    write_split(tmp_path / "data", "val", [OUTLINE])
    drawn = {}
    for task in ("detect", "segment", "obb"):
        assert main(["check", "data", "--quiet", "--task", task, "--output", f"{task}.png"]) == 0
        said = capsys.readouterr().out
        assert f"task {task}, sizes at --input 640" in said
        assert ("train: objects without an outline, whose mask is the rectangle of their box: 1" in said) == (
            task == "segment"
        )
        drawn[task] = cv2.imread(f"{task}.png")
    assert (drawn["detect"] != drawn["segment"]).any()
    assert (drawn["detect"] != drawn["obb"]).any()
    assert (drawn["segment"] != drawn["obb"]).any()


def keypoints(root, split, count):
    write_split(root, split, [BOX + " 0.5 0.5 2" * count])
    (root / "data.yaml").write_text(f"names: [cat, dog]\nkpt_shape: [{count}, 3]\n", encoding="utf-8")


def test_keypoints_are_named(capsys, tmp_path):
    for split in ("train", "val"):
        keypoints(tmp_path / "data", split, 3)
    assert main(["check", "data", "--quiet", "--task", "pose"]) == 0
    assert "\nkeypoints: 1, 2, 3\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("pose", "no keypoints; declare their number and columns"),
        ("classify", "the data set has boxes, but a classifier learns one class"),
    ],
)
def test_labels_of_another_task_are_refused(capsys, tmp_path, task, message):
    write_split(tmp_path / "data", "train", [BOX])
    assert main(["check", "data", "--quiet", "--task", task]) == 1
    assert message in capsys.readouterr().err
