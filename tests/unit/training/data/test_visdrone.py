import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import NO_AREA, NO_IMAGE, NO_LABELS, NO_OBJECTS, REGIONS
from training.data.readers.visdrone import read_visdrone
from training.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    """Return the official layout, with two training images of 30 × 20."""
    for split in ("train", "test-dev"):
        folder = tmp_path / f"VisDrone2019-DET-{split}"
        write_image(folder / "images" / "b.jpg")
        write_image(folder / "images" / "a.JPG")
        (folder / "annotations").mkdir()
        (folder / "annotations" / "b.txt").write_text("1,2,10,10,1,4,0,0\n5,6,4,2,1,1,1,2")
        (folder / "annotations" / "a.txt").write_text("")
    return tmp_path


def write_labels(root, text):
    (root / "VisDrone2019-DET-train" / "annotations" / "b.txt").write_text(text)


def remarks_of(dataset):
    return {what: count for what, count in dataset.remarks.items() if count}


def test_boxes_are_read_with_their_classes_in_sorted_order(root):
    dataset = read_visdrone(root, "train")
    first, second = dataset.load(0), dataset.load(1)
    assert (first.name, second.name, len(first.class_ids)) == ("a", "b", 0)
    np.testing.assert_array_equal(second.boxes_xyxy, [[1, 2, 11, 12], [5, 6, 9, 8]])
    assert [dataset.class_names[i] for i in second.class_ids] == ["car", "pedestrian"]
    assert remarks_of(dataset) == {NO_OBJECTS: 1}


def test_regions_others_and_lines_of_score_zero_are_ignored(root):
    write_labels(root, "0,0,5,5,0,0,0,0\n5,0,5,5,1,11,0,0\n10,0,5,5,0,4,0,0\n15,0,5,5,1,10,0,0\n")
    dataset = read_visdrone(root, "train")
    sample = dataset.load(1)
    assert sample.class_ids.tolist() == [9]
    np.testing.assert_array_equal(sample.ignored_xyxy, [[0, 0, 5, 5], [5, 0, 10, 5], [10, 0, 15, 5]])
    assert sample.ignored_class_ids.tolist() == [-1, -1, 3]  # a car of score 0 is ignored as a car
    assert remarks_of(dataset)[REGIONS] == 3


def test_a_comma_at_the_end_of_a_line_is_no_column(root):
    write_labels(root, "1,2,10,10,1,4,0,0,\n")
    assert read_visdrone(root, "train").load(1).class_ids.tolist() == [3]


def test_a_box_without_area_is_left_out_and_counted(root):
    write_labels(root, "1,2,0,10,1,4,0,0\n1,2,3,4,1,4,0,0\n")
    dataset = read_visdrone(root, "train")
    assert len(dataset.load(1).class_ids) == 1
    assert remarks_of(dataset)[NO_AREA] == 1


def test_what_lacks_its_other_half_is_left_out_and_counted(root):
    folder = root / "VisDrone2019-DET-train"
    write_image(folder / "images" / "c.jpg")
    (folder / "annotations" / "d.txt").write_text("1,2,10,10,1,4,0,0\n")
    dataset = read_visdrone(root, "train")
    assert [dataset.load(i).name for i in range(len(dataset))] == ["a", "b"]
    assert remarks_of(dataset) == {NO_LABELS: 1, NO_IMAGE: 1, NO_OBJECTS: 1}


def test_nothing_that_has_both_halves_is_refused(root):
    folder = root / "VisDrone2019-DET-train" / "images"
    for path in folder.iterdir():
        path.rename(path.with_stem(f"other-{path.stem}"))
    with pytest.raises(DatasetError, match="of 4 images none has both its file and its label file"):
        read_visdrone(root, "train")


def test_the_folder_of_one_split_can_be_given_itself(root):
    assert len(read_visdrone(root / "VisDrone2019-DET-test-dev", "test-dev")) == 2
    with pytest.raises(DatasetError, match=r"no split 'train'; this data set has \['test-dev'\]"):
        read_visdrone(root / "VisDrone2019-DET-test-dev", "train")


def test_folders_of_other_names_are_splits_too(root):
    (root / "VisDrone2019-DET-train").rename(root / "val")
    assert len(read_visdrone(root, "val")) == 2
    assert len(read_visdrone(root / "val", "all")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("1,2,10,10,1,4,0", "7 columns; VisDrone has 8", id="a column is missing"),
        pytest.param("1,2,10,10,1,4,0,0,0", "9 columns", id="one too many"),
        pytest.param("1,2,wide,10,1,4,0,0", "wide", id="not a number"),
        pytest.param("1,2,nan,10,1,4,0,0", "finite", id="NaN"),
        pytest.param("1,2,-3,10,1,4,0,0", "negative size, -3 × 10", id="negative width"),
        pytest.param("1,2,3,10,1,12,0,0", r"category 12 is outside 0\.\.11", id="unknown category"),
        pytest.param("1,2,3,10,1,-1,0,0", "category -1", id="negative category"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(root, line, message):
    write_labels(root, f"1,2,10,10,1,4,0,0\n{line}\n")
    with pytest.raises(DatasetError, match=rf"b\.txt:2: .*{message}"):
        read_visdrone(root, "train")
