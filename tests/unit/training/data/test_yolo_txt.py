import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image
from training.data.remarks import NO_AREA, NO_IMAGE, NO_LABELS_KEPT
from training.data.yolo_txt import read_yolo
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


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_the_validation_split_answers_to_its_usual_names(root, split):
    if split == "validation":
        (root / "valid").rename(root / "validation")
        split = "val"
    assert len(read_yolo(root, split)) == 1


def test_images_before_the_split_name_work_too(root):
    (root / "images").mkdir()
    (root / "labels").mkdir()
    (root / "train" / "images").rename(root / "images" / "train")
    (root / "train" / "labels").rename(root / "labels" / "train")
    assert read_yolo(root, "train").load(0).class_ids.tolist() == [1]


def test_a_folder_that_data_yaml_names_comes_first(root):
    (root / "data.yaml").write_text("path: .\ntrain: other/images\nnames: [cat, dog]")
    write_image(root / "other" / "images" / "two.png")
    assert read_yolo(root, "train").load(0).name == "two"


def test_names_may_be_numbered(root):
    (root / "data.yaml").write_text("names: {1: dog, 0: cat}")
    assert read_yolo(root, "train").class_names == ("cat", "dog")


@pytest.mark.parametrize("text", ["", "\n \n", None])
def test_an_empty_or_missing_label_file_means_no_objects(root, text):
    if text is None:
        (root / "train" / "labels" / "one.txt").unlink()
    else:
        write_labels(root, text)
    sample = read_yolo(root, "train").load(0)
    assert sample.boxes_xyxy.shape == (0, 4)
    assert sample.class_ids.shape == (0,)


def test_a_segment_becomes_the_box_around_it(root):
    write_labels(root, "0 0.25 0.5 0.5 0.25 0.75 1.0\n")
    np.testing.assert_array_equal(read_yolo(root, "train").load(0).boxes_xyxy, [[10, 5, 30, 20]])


def test_a_box_over_the_edge_is_clipped(root):
    write_labels(root, "0 0.0 0.5 0.5 1.0005\n")
    np.testing.assert_array_equal(read_yolo(root, "train").load(0).boxes_xyxy, [[0, 0, 10, 20]])


def test_a_box_without_area_is_dropped_and_counted(root):
    write_labels(root, "0 0.5 0.5 0 0.5\n1 0.5 0.5 0.5 0.5\n")
    dataset = read_yolo(root, "train")
    assert (dataset.remarks[NO_AREA], dataset.load(0).class_ids.tolist()) == (1, [1])


def test_files_without_their_other_half_are_counted(root):
    write_image(root / "train" / "images" / "two.png")
    for name in ("three.txt", "classes.txt"):  # the second lists the names and is no label file
        (root / "train" / "labels" / name).write_text("cat\n")
    dataset = read_yolo(root, "train")
    assert [dataset.load(i).name for i in range(len(dataset))] == ["one", "two"]
    assert {what: count for what, count in dataset.remarks.items() if count} == {
        NO_IMAGE: 1,
        NO_LABELS_KEPT: 1,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("0 0.5 0.5 0.5", "4 columns", id="a column is missing"),
        pytest.param("0 0.5 0.5 0.5 0.5 0.9", "6 columns", id="one too many"),
        pytest.param("2 0.5 0.5 0.5 0.5", r"class 2 is outside 0\.\.1", id="class without a name"),
        pytest.param("-1 0.5 0.5 0.5 0.5", "class -1", id="negative class"),
        pytest.param("cat 0.5 0.5 0.5 0.5", "cat", id="class by name"),
        pytest.param("0 0.5 0.5 0.5 wide", "wide", id="not a number"),
        pytest.param("0 0.5 0.5 nan 0.5", "fractions", id="NaN"),
        pytest.param("0 20 10 8 8", "fractions", id="pixels"),
        pytest.param("0 0.5 1.002 0.5 0.5", "fractions", id="beyond the tolerance"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(root, line, message):
    write_labels(root, f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(DatasetError, match=rf"one\.txt:2: .*{message}"):
        read_yolo(root, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param("names: [cat", "not YAML", id="not YAML"),
        pytest.param("just text", "must hold keys", id="not a mapping"),
        pytest.param("train: x", "must list the classes", id="no names"),
        pytest.param("names: []", "must list the classes", id="empty names"),
        pytest.param("names: {0: cat, 2: dog}", "without gaps", id="a gap in the numbers"),
    ],
)
def test_a_data_yaml_that_cannot_work_is_named(root, text, message):
    if text is None:
        (root / "data.yaml").unlink()
    else:
        (root / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=rf"data\.yaml: {message}|data\.yaml: .*{message}"):
        read_yolo(root, "train")


def test_an_unknown_split_says_where_it_looked_and_what_there_is(root):
    with pytest.raises(DatasetError, match=r"'test'.*test/images.*'train/images', 'valid/images'"):
        read_yolo(root, "test")


def test_a_split_without_images_is_refused(root):
    (root / "train" / "images" / "one.png").unlink()
    with pytest.raises(DatasetError, match="the split is empty"):
        read_yolo(root, "train")
