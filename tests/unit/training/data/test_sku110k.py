import tracemalloc

import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import CLIPPED, NO_AREA, NO_IMAGE, NO_OBJECTS, OUTSIDE
from training.data.labels.rows import LabelRows
from training.data.readers.sku110k import read_sku110k
from training.errors import DatasetError

LINE = "train_1.jpg,1,2,11,12,object,30,20"


@pytest.fixture
def root(tmp_path):
    """Return two images of 30 × 20; the rows of one stand apart."""
    for name in ("train_0.jpg", "train_1.JPG", "val_0.jpg"):
        write_image(tmp_path / "images" / name)
    (tmp_path / "annotations").mkdir()
    write(tmp_path, LINE, "train_0.jpg,0,0,4,4,object,30,20", "train_1.jpg,5,6,9,8,object,30,20")
    return tmp_path


def write(root, *lines):
    (root / "annotations" / "annotations_train.csv").write_text("\n".join(lines) + "\n")


def remarks_of(dataset):
    return {what: count for what, count in dataset.remarks.items() if count}


def test_images_come_in_the_order_of_the_file_with_all_their_boxes(root):
    dataset = read_sku110k(root, "train")
    assert (len(dataset), dataset.class_names) == (2, ("object",))
    first, second = dataset.load(0), dataset.load(1)
    assert (first.name, second.name) == ("train_1", "train_0")
    np.testing.assert_array_equal(first.boxes_xyxy, [[1, 2, 11, 12], [5, 6, 9, 8]])
    np.testing.assert_array_equal(second.boxes_xyxy, [[0, 0, 4, 4]])
    assert remarks_of(dataset) == {}


def test_boxes_that_cannot_stand_as_written_are_counted(root):
    write(
        root,
        "train_0.jpg,3,3,3,9,object,30,20",
        "train_0.jpg,30,3,40,9,object,30,20",
        "train_0.jpg,20,3,40,9,object,30,20",
        "train_1.jpg,3,3,3,9,object,30,20",
    )
    dataset = read_sku110k(root, "train")
    np.testing.assert_array_equal(dataset.load(0).boxes_xyxy, [[20, 3, 30, 9]])
    assert remarks_of(dataset) == {NO_AREA: 2, OUTSIDE: 1, CLIPPED: 1, NO_OBJECTS: 1}


def test_a_missing_image_is_left_out_and_counted_once(root):
    (root / "images" / "train_1.JPG").unlink()
    dataset = read_sku110k(root, "train")
    assert [dataset.load(i).name for i in range(len(dataset))] == ["train_0"]
    assert remarks_of(dataset) == {NO_IMAGE: 1}


def test_images_that_are_all_missing_are_refused(root):
    write(root, "train_8.jpg,1,2,3,4,object,30,20", "train_9.jpg,1,2,3,4,object,30,20")
    with pytest.raises(DatasetError, match=r"images: none of the 2 images that annotations_train\.csv names"):
        read_sku110k(root, "train")


def test_an_unknown_split_lists_those_there_are(root):
    with pytest.raises(DatasetError, match=r"annotations_val\.csv: no such split; .*\['train'\]"):
        read_sku110k(root, "val")


def test_a_missing_folder_of_images_is_named(root):
    (root / "images").rename(root / "elsewhere")
    with pytest.raises(DatasetError, match="images: no such folder"):
        read_sku110k(root, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(LINE.removesuffix(",20"), "7 columns; SKU-110K has 8, without a header", id="narrow"),
        pytest.param(f"{LINE},1", "9 columns", id="wide"),
        pytest.param("name,x1,y1,x2,y2,class,w,h", "class 'class'.*no header", id="header"),
        pytest.param(LINE.replace("object", "can"), "class 'can'", id="unknown class"),
        pytest.param(LINE.replace(",11,", ",far,"), "far", id="not a number"),
        pytest.param(LINE.replace(",11,", ",nan,"), "finite", id="NaN"),
        pytest.param(LINE.replace(",30,", ",inf,"), "finite", id="infinite image"),
        pytest.param(LINE.replace(",11,", ",0,"), "ends before it begins", id="negative width"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(root, line, message):
    write(root, LINE, line)
    with pytest.raises(DatasetError, match=rf"annotations_train\.csv:2: .*{message}"):
        read_sku110k(root, "train")


def test_a_file_that_is_no_text_is_named(root):
    (root / "annotations" / "annotations_train.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"annotations_train\.csv: not UTF-8 text"):
        read_sku110k(root, "train")


def test_a_box_costs_bytes_and_no_python_objects():
    rows, boxes = LabelRows(), 20_000
    tracemalloc.start()
    for number in range(boxes):
        rows.add(number % 7, (0.0, 0.0, float(number + 1), 5.0), 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100 * boxes  # 57 bytes in a buffer that grows; a tuple of four floats alone is 184
    assert rows.by_image(7)[3]["box_xyxy"][:, 2].tolist() == list(range(4, boxes + 1, 7))
