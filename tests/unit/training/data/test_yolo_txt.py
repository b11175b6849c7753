import re

import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import (
    CLIPPED,
    NO_AREA,
    NO_IMAGE,
    NO_LABELS_KEPT,
    NO_OBJECTS,
    OUTLINES,
    OUTSIDE,
    REPEATED,
    describe_remarks,
)
from training.data.readers.yolo_txt import read_yolo
from training.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    """One training image of 40 × 20 with one box; the layout and data.yaml of a common exporter."""
    (tmp_path / "set").mkdir()
    root = tmp_path / "set"
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']"
    )
    for split in ("train", "valid"):
        write_image(root / split / "images" / "one.png", (20, 40))
        (root / split / "labels").mkdir()
        (root / split / "labels" / "one.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    return root


def write_labels(root, text):
    (root / "train" / "labels" / "one.txt").write_text(text)


def test_a_box_becomes_pixels_of_the_image(root):
    dataset = read_yolo(root, "train")
    sample = dataset.load(0)
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_array_equal(sample.boxes_xyxy, [[15, 5, 25, 15]])
    assert (sample.class_ids.tolist(), sample.name) == ([1], "one")


def test_encoded_is_the_file_itself(root):
    expected = (root / "train" / "images" / "one.png").read_bytes()
    assert read_yolo(root, "train").encoded(0) == expected


@pytest.mark.parametrize("text", ["", "\n \n", None])
def test_an_empty_or_missing_label_file_means_no_objects(root, text):
    write_image(root / "train" / "images" / "two.png")
    if text is not None:
        (root / "train" / "labels" / "two.txt").write_text(text)
    dataset = read_yolo(root, "train")
    assert [len(dataset.load(index).class_ids) for index in range(2)] == [1, 0]
    assert (dataset.remarks[NO_LABELS_KEPT], dataset.remarks[NO_OBJECTS]) == (
        (1, 0) if text is None else (0, 1)
    )


@pytest.mark.parametrize(
    ("row", "box"),
    [
        pytest.param("0 0.25 0.5 0.5 0.25 0.75 1.0", [10, 5, 30, 20], id="an outline, enclosed"),
        pytest.param("0 0 0 0.5 0 0.5 0.5 0 0.5", [0, 0, 20, 10], id="four corners, as of a turned box"),
        pytest.param("0 0.0 0.5 0.5 1.0005", [0, 0, 10, 20], id="a box over the edge"),
        pytest.param("0 1.1 0.5 0.5 0.5", [34, 5, 40, 15], id="a centre over the edge"),
        pytest.param("0 0.5 0.5 1.0021 0.5 1.0021 1 0.5 1", [20, 10, 40, 20], id="points over the edge"),
        pytest.param("0\t0.5  0.5 0.5 1\r", [10, 0, 30, 20], id="tabs and Windows line ends"),
        pytest.param("\ufeff0 0.5 0.5 0.5 1", [10, 0, 30, 20], id="a byte order mark"),
        pytest.param("0.0 0.5 0.5 0.5 1", [10, 0, 30, 20], id="class 0.0"),
        pytest.param("0.000000e+00 5.0e-01 0.5 .5 1", [10, 0, 30, 20], id="numbers of numpy.savetxt"),
        pytest.param("0 0.5 0.5 0.5 1 0.87", [10, 0, 30, 20], id="a sixth column, the confidence"),
        pytest.param("0 0.5 0.5 0.5 1 17", [10, 0, 30, 20], id="a sixth column, the track"),
    ],
)
def test_a_row_becomes_a_box_in_pixels_within_the_image(root, row, box):
    (root / "train" / "labels" / "one.txt").write_bytes(row.encode())
    sample = read_yolo(root, "train").load(0)
    np.testing.assert_allclose(sample.boxes_xyxy, [box], atol=1e-3)
    assert sample.class_ids.tolist() == [0]


@pytest.mark.parametrize(
    ("keypoints", "row"),
    [
        pytest.param("[2, 2]", "1 0.5 0.5 0.5 1  0 0  1 1", id="x and y of each keypoint"),
        pytest.param("[1, 3]", "1 0.5 0.5 0.5 1  0.9 0.9 2", id="with visibility"),
        pytest.param("[3, 2]", "1 0.5 0.5 0.5 1  -9 0 0 0 0 0", id="a keypoint far outside"),
        pytest.param("[4, 2]", "1 0.5 0.5 0.5 1", id="a box without keypoints"),
    ],
)
def test_with_a_kpt_shape_the_box_is_columns_two_to_five(root, keypoints, row):
    (root / "data.yaml").write_text(f"kpt_shape: {keypoints}\nnames: [cat, dog]\n")
    write_labels(root, row)
    np.testing.assert_array_equal(read_yolo(root, "train").load(0).boxes_xyxy, [[10, 0, 30, 20]])


@pytest.mark.parametrize(
    ("row", "remark"),
    [
        pytest.param("1 0.5 0.5 0 0.5", NO_AREA, id="without area"),
        pytest.param("1 1.4 0.5 0.5 0.5", OUTSIDE, id="wholly outside"),
        pytest.param("0 0.5 0.5 0.5 0.5", REPEATED, id="a row twice"),
        pytest.param("0.0 .5 .50 .5 .5", REPEATED, id="twice, written otherwise"),
    ],
)
def test_a_row_that_is_no_further_object_is_counted(root, row, remark):
    write_labels(root, f"0 0.5 0.5 0.5 0.5\n{row}\n")
    dataset = read_yolo(root, "train")
    assert (dataset.remarks[remark], dataset.load(0).class_ids.tolist()) == (1, [0])


@pytest.mark.parametrize(
    ("reach", "clipped"),
    [
        pytest.param("1.0018", 0, id="less than a thousandth over each edge"),
        pytest.param("1.01", 1, id="more"),
    ],
)
def test_clipping_is_counted_unless_it_is_rounding(root, reach, clipped):
    write_labels(root, f"0 0.5 0.5 {reach} 0.5\n")
    assert read_yolo(root, "train").remarks[CLIPPED] == clipped


def test_files_without_their_other_half_are_counted(root):
    write_image(root / "train" / "images" / "two.png")
    for name, text in (("three.txt", "0 0.5 0.5 1 1"), ("classes.txt", "cat\ndog"), ("notes.txt", "")):
        (root / "train" / "labels" / name).write_text(text)  # the last two are no label files
    dataset = read_yolo(root, "train")
    assert [dataset.load(i).name for i in range(len(dataset))] == ["one", "two"]
    assert {what: count for what, count in dataset.remarks.items() if count} == {
        NO_IMAGE: 1,
        NO_LABELS_KEPT: 1,
    }


MALFORMED = pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("0 0.5 0.5 0.5", "4 columns; a box has 5", id="a column is missing"),
        pytest.param("0 0.5 0.5 0.5 0.5 0.9 0.9 0.9", "8 columns", id="an outline with half a point"),
        pytest.param("2 0.5 0.5 0.5 0.5", r"class 2 has no name in data\.yaml", id="class without a name"),
        pytest.param("-1 0.5 0.5 0.5 0.5", "class -1 has no name", id="negative class"),
        pytest.param("1.5 0.5 0.5 0.5 0.5", r"class 1\.5 is no whole number", id="half a class"),
        pytest.param("nan 0.5 0.5 0.5 0.5", "class nan is no whole number", id="class NaN"),
        pytest.param("cat 0.5 0.5 0.5 0.5", "not all columns are numbers", id="class by name"),
        pytest.param("0,0.5,0.5,0.5,0.5", "numbers with spaces between", id="commas between"),
        pytest.param("0;0.5;0.5;0.5;0.5", "numbers with spaces between", id="semicolons between"),
        pytest.param("0 0,5 0,5 0,5 0,5", "numbers with spaces between", id="decimal commas"),
        pytest.param("0 0.5 0.5 0.5 wide", "not all columns are numbers", id="not a number"),
        pytest.param("0 0.5 0.5 nan 0.5", "fractions of the image", id="NaN"),
        pytest.param("0 .5 .5 .5 .5 .6 .6 2 .4 .4 2", r"0\.\.1; keypoints need a kpt_shape", id="keypoints"),
        pytest.param("0 0.5 0.5 0.5 0.5 0.9 2", "fractions of the image", id="a confidence and a track"),
        pytest.param("0 20 10 8 8", "fractions of the image", id="pixels"),
        pytest.param("0 0.5 0.5 -0.1 0.5", "negative", id="negative width"),
    ],
)


@MALFORMED
def test_a_malformed_row_is_left_out_and_the_first_is_named(root, row, reason):
    write_labels(root, f"0 0.5 0.5 0.5 0.5\n\n{row}\n1 0.5 0.5 0.5 0.5\n")
    dataset = read_yolo(root, "train")
    assert dataset.load(0).class_ids.tolist() == [0, 1]
    assert re.search(
        rf"rows left out: .*{reason}.* first in .*one\.txt:3: 1", describe_remarks(dataset.remarks)
    )


@MALFORMED
def test_labels_that_are_mostly_malformed_are_refused(root, row, reason):
    write_labels(root, f"0 0.5 0.5 0.5 0.5\n{row}\n{row}\n")
    with pytest.raises(DatasetError, match=rf"one\.txt:2: .*{reason}.* of 3 rows, 2 cannot be used"):
        read_yolo(root, "train")


def test_keypoints_of_another_number_than_declared_are_malformed(root):
    (root / "data.yaml").write_text("kpt_shape: [4, 2]\nnames: [cat, dog]\n")
    write_labels(root, "1 0.5 0.5 0.5 1 0 0 0 0 0 0\n")
    with pytest.raises(DatasetError, match="11 columns, but kpt_shape makes it 13"):
        read_yolo(root, "train")


def test_outlines_are_counted(root):
    write_labels(root, "0 0.5 0.5 0.5 0.5\n1 0 0 0.5 0 0.5 0.5\n1 0 0 1 0 0.5 0.5 0 0.5 0 0.2\n")
    assert read_yolo(root, "train").remarks[OUTLINES] == 2


def test_labels_in_utf_16_say_so(root):
    (root / "train" / "labels" / "one.txt").write_bytes("0 0.5 0.5 0.5 0.5\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"one\.txt:1: not UTF-8 text; save the labels as UTF-8"):
        read_yolo(root, "train")
