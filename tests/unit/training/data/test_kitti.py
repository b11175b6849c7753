import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import NO_AREA, NO_IMAGE, NO_LABELS, NO_OBJECTS, REGIONS
from training.data.readers.kitti import read_kitti
from training.errors import DatasetError

REST = "1.5 1.6 3.7 -16.5 2.4 58.5 1.6"
CAR = f"Car 0.00 0 1.85 1.5 2.25 11.5 12.25 {REST}"
DONT_CARE = "DontCare -1 -1 -10 5 6 9 8 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def root(tmp_path):
    """Seven images of 30 × 20 with a car each."""
    (tmp_path / "training" / "label_2").mkdir(parents=True)
    for number in range(7):
        write_image(tmp_path / "training" / "image_2" / f"{number:06}.png")
        write_labels(tmp_path, CAR, number)
    return tmp_path


def write_labels(root, text, number=0):
    (root / "training" / "label_2" / f"{number:06}.txt").write_text(f"{text}\n")


def names(dataset):
    return [int(dataset.load(index).name) for index in range(len(dataset))]


def remarks_of(dataset):
    return {what: count for what, count in dataset.remarks.items() if count}


def test_a_box_stands_as_written(root):
    dataset = read_kitti(root, "training")
    np.testing.assert_array_equal(dataset.load(0).boxes_xyxy, [[1.5, 2.25, 11.5, 12.25]])
    assert dataset.class_names[dataset.load(0).class_ids[0]] == "Car"
    assert remarks_of(dataset) == {}


def test_dont_care_regions_are_ignored_for_every_class(root):
    write_labels(root, f"{DONT_CARE}\n{CAR.replace('Car', 'Person_sitting')}")
    dataset = read_kitti(root, "training")
    sample = dataset.load(0)
    assert (sample.class_ids.tolist(), sample.ignored_class_ids.tolist()) == ([4], [-1])
    np.testing.assert_array_equal(sample.ignored_xyxy, [[5, 6, 9, 8]])
    assert remarks_of(dataset) == {REGIONS: 1}


def test_every_fifth_image_validates_and_the_others_train(root):
    assert names(read_kitti(root, "training")) == [0, 1, 2, 3, 4, 5, 6]
    assert names(read_kitti(root, "val")) == [0, 5]
    assert names(read_kitti(root, "train")) == [1, 2, 3, 4, 6]


def test_a_list_decides_where_there_is_one(root):
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.txt").write_text("000003\n000001\n")
    assert names(read_kitti(root, "val")) == [3, 1]


def test_an_unknown_split_says_which_there_are(root):
    with pytest.raises(DatasetError, match="no such split; without a list there are training, train and val"):
        read_kitti(root, "test")


def test_what_lacks_its_other_half_is_left_out_and_counted(root):
    (root / "training" / "label_2" / "000002.txt").unlink()
    (root / "training" / "image_2" / "000003.png").unlink()
    write_labels(root, "", 4)
    dataset = read_kitti(root, "training")
    assert names(dataset) == [0, 1, 4, 5, 6]
    assert remarks_of(dataset) == {NO_LABELS: 1, NO_IMAGE: 1, NO_OBJECTS: 1}


def test_images_that_are_all_missing_are_refused(root):
    for path in (root / "training" / "image_2").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="split 'training': of 7 images none has both"):
        read_kitti(root, "training")


def test_a_missing_folder_is_named(root):
    (root / "training" / "image_2").rename(root / "training" / "image_3")
    with pytest.raises(DatasetError, match=r"image_2: no such folder"):
        read_kitti(root, "training")


def test_a_box_without_area_is_left_out_and_counted(root):
    write_labels(root, f"Car 0.00 0 1.85 5 5 5 9 {REST}")
    assert remarks_of(read_kitti(root, "training")) == {NO_AREA: 1, NO_OBJECTS: 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(CAR.removesuffix(" 1.6"), "14 columns; a KITTI label has 15", id="a column is missing"),
        pytest.param(f"{CAR} 0.9", r"16 columns.*\(a result has one more\)", id="a result"),
        pytest.param(CAR.replace("Car", "Bus"), "type 'Bus' is none of Car, Van", id="unknown type"),
        pytest.param(CAR.replace(" 1.5 2.25", " wide 2.25"), "wide", id="not a number"),
        pytest.param(CAR.replace(" 1.5 2.25", " nan 2.25"), "finite", id="NaN"),
        pytest.param(CAR.replace(" 1.5 2.25", " 12 2.25"), "ends before it begins", id="negative width"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(root, line, message):
    write_labels(root, f"{CAR}\n{line}")
    with pytest.raises(DatasetError, match=rf"000000\.txt:2: .*{message}"):
        read_kitti(root, "training")
