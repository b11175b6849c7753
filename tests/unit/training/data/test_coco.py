"""Reading of COCO json: labels, remarks, and refusals that name the wrong entry."""

import json

import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import (
    CLIPPED,
    CROWDS,
    LISTED_TWICE,
    NO_AREA,
    NO_IMAGE,
    NO_OBJECTS,
    OUTSIDE,
    UNLISTED,
)
from training.data.readers.coco import read_coco
from training.errors import DatasetError


def annotation(image_id, category_id, bbox, **more):
    return {"id": 7, "image_id": image_id, "category_id": category_id, "bbox": bbox, "iscrowd": 0, **more}


@pytest.fixture
def document():
    """Return two images of 30 × 20, listed with the higher id first, and categories 90 and 3."""
    return {
        "info": {},
        "images": [
            {"id": 9, "file_name": "nine.jpg", "height": 20, "width": 30},
            {"id": 4, "file_name": "four.png", "height": 20, "width": 30},
        ],
        "annotations": [
            annotation(9, 90, [1, 2, 10, 10], area=33.5, segmentation=[[1, 2, 3, 4, 5, 6]]),
            annotation(9, 3, [5.5, 6, 4, 2]),
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
    }


@pytest.fixture
def root(tmp_path, document):
    write_image(tmp_path / "train2017" / "nine.JPG")
    write_image(tmp_path / "train2017" / "four.png")
    (tmp_path / "annotations").mkdir()
    write(tmp_path, document)
    return tmp_path


def write(root, document, split="train2017"):
    path = root / "annotations" / f"instances_{split}.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")


def remarks_of(root):
    return {what: count for what, count in read_coco(root, "train").remarks.items() if count}


def test_classes_and_images_come_by_ascending_id(root):
    dataset = read_coco(root, "train2017")
    assert dataset.class_names == ("car", "toothbrush")  # of category ids 3 and 90
    assert [dataset.load(i).name for i in range(len(dataset))] == ["four", "nine"]


def test_a_box_is_read_with_its_class_and_the_area_of_its_outline(root):
    sample = read_coco(root, "train2017").load(1)  # its file ends in .JPG, its entry in .jpg
    np.testing.assert_array_equal(sample.boxes_xyxy, [[1, 2, 11, 12], [5.5, 6, 9.5, 8]])
    assert sample.class_ids.tolist() == [1, 0]
    np.testing.assert_array_equal(sample.areas, [33.5, np.nan])


def test_an_image_without_objects_is_kept_and_counted(root):
    assert read_coco(root, "train").load(0).boxes_xyxy.shape == (0, 4)
    assert remarks_of(root) == {NO_OBJECTS: 1}


def test_a_crowd_is_an_ignored_region_of_its_class(root, document):
    document["annotations"].append(
        annotation(4, 90, [0, 0, 30, 10], iscrowd=1, segmentation={"counts": [1, 2], "size": [20, 30]})
    )
    write(root, document)
    sample = read_coco(root, "train").load(0)
    assert len(sample.boxes_xyxy) == 0
    np.testing.assert_array_equal(sample.ignored_xyxy, [[0, 0, 30, 10]])
    assert sample.ignored_class_ids.tolist() == [1]
    assert remarks_of(root) == {CROWDS: 1}


@pytest.mark.parametrize(
    ("bbox", "remark", "left"),
    [
        pytest.param([3, 3, 0, 5], NO_AREA, [], id="no width"),
        pytest.param([3, 3, 5, 0], NO_AREA, [], id="no height"),
        pytest.param([30, 3, 5, 5], OUTSIDE, [], id="right of the image"),
        pytest.param([-5, 3, 5, 5], OUTSIDE, [], id="left of it"),
        pytest.param([29, 3, 2, 5], None, [[29, 3, 30, 8]], id="a pixel over the edge is rounding"),
        pytest.param([29, 3, 2.25, 5], CLIPPED, [[29, 3, 30, 8]], id="more is clipped and counted"),
        pytest.param([-1.25, 3, 9.25, 5], CLIPPED, [[0, 3, 8, 8]], id="on the other side too"),
    ],
)
def test_boxes_that_cannot_stand_as_written_are_counted(root, document, bbox, remark, left):
    document["annotations"].append(annotation(4, 3, bbox))
    write(root, document)
    assert read_coco(root, "train").load(0).boxes_xyxy.tolist() == left
    counted = remarks_of(root)
    counted.pop(NO_OBJECTS, None)
    assert counted == ({} if remark is None else {remark: 1})


@pytest.mark.parametrize("size", [{}, {"height": 0, "width": 0}, {"height": None, "width": 30}])
def test_where_the_size_is_not_stated_boxes_are_clipped_when_loaded(root, document, size):
    document["images"] = [{"id": 9, "file_name": "nine.jpg", **size}]
    document["annotations"] = [annotation(9, 3, [20, 2, 50, 10])]
    write(root, document)
    assert read_coco(root, "train").load(0).boxes_xyxy.tolist() == [[20, 2, 30, 12]]
    assert remarks_of(root) == {}


def test_an_image_whose_file_is_missing_is_left_out_and_counted(root):
    (root / "train2017" / "four.png").unlink()
    dataset = read_coco(root, "train")
    assert (len(dataset), dataset.load(0).name) == (1, "nine")
    assert remarks_of(root) == {NO_IMAGE: 1}


def test_no_file_at_all_is_refused(root):
    for path in (root / "train2017").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"none of the 2 images that instances_train2017\.json lists"):
        read_coco(root, "train")


def test_boxes_of_an_image_that_is_not_listed_are_counted(root, document):
    document["annotations"].append(annotation(5, 3, [1, 1, 2, 2]))
    write(root, document)
    assert remarks_of(root) == {UNLISTED: 1, NO_OBJECTS: 1}


def listing(root, document, *names):
    """Images 1, 2 and so on, of these files."""
    document["images"] = [{"id": place, "file_name": name} for place, name in enumerate(names, start=1)]
    document["annotations"] = [annotation(place, 3, [place, 1, 5, 5]) for place in range(1, len(names) + 1)]
    write(root, document)


@pytest.mark.parametrize("names", [("a/1.jpg", "b/1.jpg"), (r"a\1.jpg", r"b\1.jpg")])
def test_two_images_of_one_name_in_two_folders_are_two(root, document, names):
    listing(root, document, *names)
    write_image(root / "train2017" / "a" / "1.jpg", (20, 30))
    write_image(root / "train2017" / "b" / "1.jpg", (40, 50))
    samples = [read_coco(root, "train").load(index) for index in range(2)]
    assert [each.image.shape[:2] for each in samples] == [(20, 30), (40, 50)]
    assert [each.boxes_xyxy.tolist() for each in samples] == [[[1, 1, 6, 6]], [[2, 1, 7, 6]]]


@pytest.mark.parametrize("names", [("a/1.jpg", "b/1.jpg"), ("/old/1.jpg", r"C:\old\1.jpg")])
def test_two_listed_images_are_never_one_file(root, document, names):
    write_image(root / "train2017" / "1.jpg")
    listing(root, document, *names)
    with pytest.raises(DatasetError, match=r"images 1 and 2 are both .*1\.jpg, .* file_name .*; put images"):
        read_coco(root, "train")


@pytest.mark.parametrize(
    ("stored", "names"), [("1.jpg", ("a/1.jpg", "1.jpg")), ("b/1.jpg", ("b/1.jpg", "a/1.jpg"))]
)
def test_a_lost_file_is_not_one_of_the_same_name_that_another_entry_names(root, document, stored, names):
    write_image(root / "train2017" / stored)
    listing(root, document, *names)
    dataset = read_coco(root, "train")
    assert (len(dataset), dataset.remarks[NO_IMAGE]) == (1, 1)
    assert dataset.load(0).boxes_xyxy[0, 0] == 1 + names.index(stored)


def test_a_file_listed_by_two_ways_is_one_image(root, document):
    listing(root, document, "nine.jpg", "train2017/nine.JPG")
    dataset = read_coco(root, "train")
    assert (len(dataset), len(dataset.class_ids(0)), dataset.remarks[NO_IMAGE]) == (1, 1, 1)
    listing(root, document, "nine.JPG", "train2017/nine.JPG", "./nine.JPG")
    dataset = read_coco(root, "train")
    assert (len(dataset), len(dataset.class_ids(0)), dataset.remarks[LISTED_TWICE]) == (1, 3, 2)


@pytest.mark.parametrize(
    "name",
    ["images/nine.jpg", "/home/somebody/nine.jpg", "../nine.jpg", r"C:\Users\somebody\nine.jpg"],
)
def test_the_way_to_an_image_on_another_machine_is_left_out(root, document, name):
    write_image(root / "nine.jpg", (99, 99))  # beside the folder of the split
    listing(root, document, name)
    assert read_coco(root, "train").load(0).image.shape[:2] == (20, 30)


def test_a_backslash_may_be_of_the_file_s_own_name(root, document):
    listing(root, document, r"a\1.jpg")
    write_image(root / "train2017" / r"a\1.jpg", (40, 50))
    assert read_coco(root, "train").load(0).image.shape[:2] == (40, 50)


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images"])
def test_images_lie_in_any_of_the_usual_folders(root, folder):
    (root / "images").mkdir()
    (root / "train2017").rename(root / folder)
    assert len(read_coco(root, "train")) == 2


def test_an_unknown_split_lists_those_there_are(root):
    with pytest.raises(DatasetError, match=r"instances_val\.json: no such split.*\['train2017'\]"):
        read_coco(root, "val")


def test_a_split_of_two_years_has_to_be_named_in_full(root, document):
    write(root, document, "train2014")
    assert len(read_coco(root, "train2017")) == 2
    with pytest.raises(DatasetError, match=r"\['train2014', 'train2017'\]"):
        read_coco(root, "train")


NO_BOX = "bbox is not x, y, width, height, and there is no outline"
NO_ID = "an id is neither a number nor a text"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"bbox": [1, 2, 3]}, NO_BOX, id="three numbers"),
        pytest.param({"bbox": [1, 2, -3, 4]}, NO_BOX, id="negative size"),
        pytest.param({"bbox": [1, 2, float("nan"), 4]}, NO_BOX, id="NaN"),
        pytest.param({"bbox": [1, 2, float("inf"), 4]}, NO_BOX, id="infinite"),
        pytest.param({"bbox": [1, 2, "wide", 4]}, NO_BOX, id="not a number"),
        pytest.param({"bbox": None}, NO_BOX, id="null"),
        pytest.param({"bbox": {"x": 1}}, NO_BOX, id="a dictionary"),
        pytest.param({"image_id": None}, NO_ID, id="image null"),
        pytest.param({"category_id": [3]}, NO_ID, id="a list of categories"),
    ],
)
def test_a_malformed_annotation_is_left_out_counted_and_named(root, document, change, reason):
    document["annotations"].append({**annotation(9, 3, [1, 1, 2, 2]), **change})
    write(root, document)
    assert len(read_coco(root, "train").load(1).class_ids) == 2
    (said,) = (what for what in remarks_of(root) if what != NO_OBJECTS)
    assert said.startswith(f"entries left out: {reason}, first id 7: {{")


@pytest.mark.parametrize("missing", ["image_id", "category_id", "bbox"])
def test_an_annotation_that_lacks_a_key_is_left_out_and_counted(root, document, missing):
    del document["annotations"][1][missing]
    write(root, document)
    assert read_coco(root, "train").load(1).class_ids.tolist() == [1]
    assert any(what.startswith("entries left out: ") for what in remarks_of(root))


def test_boxes_of_a_category_that_is_not_listed_are_left_out_and_counted(root, document):
    document["annotations"] += [annotation(9, 4, [1, 1, 2, 2]), annotation(9, 5, [1, 1, 2, 2])]
    write(root, document)
    assert remarks_of(root) == {NO_OBJECTS: 1, "entries left out: category_id is not listed, first 4": 2}


def test_a_file_without_one_usable_annotation_is_refused_with_the_first(root, document):
    document["annotations"] = [annotation(9, 3, [1, 2, 3]), annotation(9, 3, "none")]
    write(root, document)
    with pytest.raises(DatasetError, match=r"2017\.json: no label can be used; id 7: .*\[1, 2, 3\].*: bbox"):
        read_coco(root, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"images": None}, "no list of images", id="no images"),
        pytest.param({"categories": {}}, "no list of categories", id="categories of another kind"),
        pytest.param({"categories": []}, "lists no category", id="no category"),
        pytest.param({"categories": [{"id": 1}]}, "needs an id and a name", id="category without name"),
        pytest.param(
            {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "two categories have id 1",
            id="twice",
        ),
        pytest.param({"images": [{"id": 1}]}, "lists no image; each needs an id", id="image without file"),
        pytest.param(
            {"images": [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}]},
            "two images have id 1",
            id="image twice",
        ),
    ],
)
def test_a_file_that_is_not_coco_says_what_it_lacks(root, document, change, message):
    write(root, {**document, **change})
    with pytest.raises(DatasetError, match=message):
        read_coco(root, "train")


@pytest.mark.parametrize(
    "text",
    [pytest.param('{"images": [{"id": 1}, ', id="cut off"), "", pytest.param("[1]", id="another kind")],
)
def test_a_damaged_file_is_named(root, text):
    write(root, text)
    with pytest.raises(DatasetError, match=r"instances_train2017\.json: (not whole JSON|must hold)"):
        read_coco(root, "train")
