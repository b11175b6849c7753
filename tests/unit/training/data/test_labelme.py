"""LabelMe's json files: shapes, images beside them or in them, and what is left out."""

import json
from base64 import b64encode

import pytest

from tests.unit.training.data.small_data import write_image
from training.data.labels.remarks import CLIPPED, DIFFICULT, EQUAL_NAMES, JOINED, NO_IMAGE, NO_LABELS, REGIONS
from training.data.open import format_of, open_dataset
from training.data.readers.labelme import is_labelme, read_labelme
from training.data_config import FolderConfig
from training.errors import DatasetError, NoSuchSplit


def shape(points, kind="rectangle", label="cat", **more):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, "group_id": None, **more}


POINTS = "a shape has too few points, or points that are no finite numbers"
CAT = shape([[1, 2], [11, 12]])


def write(path, shapes, image_path=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.stem}.jpg" if image_path is None else image_path
    content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
    path.write_text(json.dumps(content | {"imageHeight": 20, "imageWidth": 30} | more), encoding="utf-8")


def boxes_of(tmp_path, *shapes):
    write_image(tmp_path / "a.jpg")
    write(tmp_path / "a.json", [*shapes])
    return read_labelme(tmp_path, "train").load(0).boxes_xyxy.tolist()


def remarks_of(dataset):
    return {what: count for what, count in dataset.remarks.items() if count}


@pytest.mark.parametrize(
    ("json_file", "image", "image_path"),
    [
        pytest.param("a.json", "a.jpg", "a.jpg", id="beside each other"),
        pytest.param("labels/a.json", "images/a.jpg", r"..\images\a.jpg", id="two folders, from Windows"),
        pytest.param("labels/a.json", "images/a.jpg", "../images/a.jpg", id="two folders"),
        pytest.param("train/a.json", "train/a.jpg", "C:\\old\\a.jpg", id="a path of another machine"),
        pytest.param("sub/train/a.json", "sub/train/a.jpg", "a.jpg", id="a deeper folder of the split"),
        pytest.param("a.json", "a.png", "a.jpg", id="another suffix"),
        pytest.param("a.json", "a.jpg", "", id="no path"),
        pytest.param("1.json", "photo.JPG", "photo.jpg", id="another name"),
        pytest.param("labels/train/a.json", "images/train/a.jpg", "a.jpg", id="split in both folders"),
        pytest.param("jsons/a.json", "photos/lot/a.jpg", "a.jpg", id="folders of other names"),
    ],
)
def test_images_are_found(tmp_path, json_file, image, image_path):
    write_image(tmp_path / image)
    write(tmp_path / json_file, [CAT], image_path)
    assert is_labelme(tmp_path, "train")
    assert format_of(tmp_path, "train").read is read_labelme
    dataset = open_dataset(FolderConfig(root=str(tmp_path)))
    assert (dataset.class_names, dataset.load(0).boxes_xyxy.tolist()) == (("cat",), [[1, 2, 11, 12]])
    with pytest.raises(NoSuchSplit, match="hold-out"):
        open_dataset(FolderConfig(root=str(tmp_path), split="val"))


def test_an_image_in_the_json_file_is_read_if_there_is_no_image_file(tmp_path):
    write_image(tmp_path / "b.png", (20, 30))
    encoded = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").unlink()
    for before in ("", "data:image/png;base64,"):
        write(tmp_path / "a.json", [CAT], imageData=before + b64encode(encoded).decode())
        dataset = read_labelme(tmp_path, "train")
        assert dataset.encoded(0) == encoded
    assert dataset.load(0).image.shape == (20, 30, 3)
    write_image(tmp_path / "a.jpg", (40, 60))
    assert read_labelme(tmp_path, "train").load(0).image.shape == (40, 60, 3)


def test_image_data_that_is_no_base64_is_named_when_it_is_loaded(tmp_path):
    write(tmp_path / "a.json", [CAT], imageData="!")
    with pytest.raises(DatasetError, match=r"a\.json: its imageData is not base64; put the image beside it"):
        read_labelme(tmp_path, "train").load(0)


@pytest.mark.parametrize(
    ("points", "kind", "box"),
    [
        pytest.param([[11, 12], [1, 2]], "rectangle", [1, 2, 11, 12], id="drawn from right to left"),
        pytest.param([[1, 2], [11, 2], [11, 12], [1, 12]], "rectangle", [1, 2, 11, 12], id="four corners"),
        pytest.param([[5, 2], [11, 7], [6, 12]], "polygon", [5, 2, 11, 12], id="polygon"),
        pytest.param([[5, 2], [11, 7], [6, 12]], None, [5, 2, 11, 12], id="old files without a type"),
        pytest.param([[10, 10], [13, 14]], "circle", [5, 5, 15, 15], id="circle of radius 5"),
        pytest.param([[5, 2], [11, 7], [6, 12], [0, 6]], "rotation", [0, 2, 11, 12], id="X-AnyLabeling"),
        pytest.param([[5, 2], [11, 7], [6, 12], [0, 6]], "oriented_rectangle", [0, 2, 11, 12], id="turned"),
        pytest.param([[1, 2], [10, 11]], "mask", [1, 2, 11, 12], id="mask, whose last pixel is named"),
    ],
)
def test_the_box_around_a_shape_is_read(tmp_path, points, kind, box):
    assert boxes_of(tmp_path, shape(points, kind)) == [box]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (shape([[1, 2]], "point"), "a shape is of type 'point', which gives no box"),
        (shape([[1, 2], [3, 4]], "line"), "a shape is of type 'line', which gives no box"),
        (shape([[1, 2], [3, 4], [5, 5]], "linestrip"), "a shape is of type 'linestrip', which gives no box"),
        (
            shape([[1, 2], [3, 4]], "polygon"),
            POINTS,
        ),
        (
            shape([[1, 2], [3, float("nan")]]),
            POINTS,
        ),
        (shape([[1, 2], [3]]), POINTS),
        (shape(None), POINTS),
        (shape([[1, 2], [3, 4]], label=None), "a shape has no label"),
        (7, "a shape is malformed"),
    ],
)
def test_a_shape_that_gives_no_box_is_left_out_counted_and_named(tmp_path, odd, reason):
    assert boxes_of(tmp_path, odd, CAT) == [[1, 2, 11, 12]]
    assert remarks_of(read_labelme(tmp_path, "train")) == {
        f"entries left out: {reason}, first {tmp_path}/a.json: shape 1": 1
    }


def test_shapes_of_one_label_and_group_are_one_object(tmp_path):
    parts = [shape([[1, 2], [5, 6]], group_id=1), shape([[9, 9], [12, 11]], group_id=1)]
    others = [shape([[1, 2], [5, 6]], group_id=2), shape([[1, 2], [5, 6]], label="dog", group_id=1)]
    assert boxes_of(tmp_path, *parts, *others) == [[1, 2, 12, 11], [1, 2, 5, 6], [1, 2, 5, 6]]
    assert remarks_of(read_labelme(tmp_path, "train")) == {JOINED: 1}


def test_difficult_shapes_and_ignored_regions_are_no_objects(tmp_path):
    shapes = [
        {**CAT, "difficult": True},
        {**CAT, "flags": {"difficult": True}},
        shape([[0, 0], [5, 5]], label="__ignore__"),
        CAT,
    ]
    assert boxes_of(tmp_path, *shapes) == [[1, 2, 11, 12]]
    dataset = read_labelme(tmp_path, "train")
    assert dataset.class_names == ("cat",)
    assert dataset.load(0).ignored_class_ids.tolist() == [0, 0, -1]
    assert remarks_of(dataset) == {DIFFICULT: 2, REGIONS: 1}


def test_boxes_over_the_edge_are_clipped_and_counted(tmp_path):
    assert boxes_of(tmp_path, shape([[-4, 2], [50, 12]])) == [[0, 2, 30, 12]]
    assert remarks_of(read_labelme(tmp_path, "train")) == {CLIPPED: 1}


def test_a_wrong_size_does_not_leave_out_boxes_that_are_in_the_image(tmp_path):
    write_image(tmp_path / "a.jpg", (20, 60))
    for size in ({"imageHeight": 60, "imageWidth": 20}, {"imageHeight": 10, "imageWidth": 30}):
        write(tmp_path / "a.json", [shape([[40, 5], [50, 10]])], **size)
        dataset = read_labelme(tmp_path, "train")
        assert dataset.load(0).boxes_xyxy.tolist() == [[40, 5, 50, 10]]
        assert remarks_of(dataset) == {}


def test_an_image_of_another_split_or_of_two_folders_is_not_taken(tmp_path):
    write_image(tmp_path / "images" / "val" / "a.jpg")
    for folder in ("one", "two"):
        write_image(tmp_path / "images" / "train" / folder / "b.jpg")
    write_image(tmp_path / "images" / "train" / "c.jpg")
    for name in "abc":
        write(tmp_path / "labels" / "train" / f"{name}.json", [CAT])
    dataset = read_labelme(tmp_path, "train")
    assert ([dataset.load(0).name], len(dataset), dataset.remarks[NO_IMAGE]) == (["c"], 1, 2)


def test_labels_of_all_splits_are_the_classes_of_each(tmp_path):
    for split, label in (("train", "dog"), ("valid", "Cat"), ("test", "cat")):
        write_image(tmp_path / split / f"{split}.jpg")
        write(tmp_path / split / f"{split}.json", [shape([[1, 2], [3, 4]], label=label)])
    for split, name, class_id in (("train", "train", 1), ("val", "valid", 0)):
        dataset = read_labelme(tmp_path, split)
        assert (len(dataset), dataset.load(0).name) == (1, name)
        assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("Cat", "dog"), [class_id])
        assert remarks_of(dataset) == {EQUAL_NAMES: 1}


def test_given_classes_keep_their_order_and_others_are_refused(tmp_path):
    write_image(tmp_path / "a.jpg")
    write(tmp_path / "a.json", [CAT])
    dataset = open_dataset(FolderConfig(root=str(tmp_path), class_names=("dog", "cat")))
    assert dataset.class_ids(0).tolist() == [1]
    with pytest.raises(DatasetError, match=r"a\.json: label 'cat' is not one of \['dog'\]"):
        read_labelme(tmp_path, "train", ("dog",))


def test_files_that_cannot_be_used_are_counted(tmp_path):
    for name in "abcd":
        write_image(tmp_path / f"{name}.jpg")
    write(tmp_path / "a.json", [CAT])
    write(tmp_path / "a - copy.json", [CAT, CAT], "a.jpg")
    write(tmp_path / "gone.json", [CAT])
    (tmp_path / "b.json").write_text('{"shapes": [')
    (tmp_path / "c.json").write_text("[1]")
    dataset = read_labelme(tmp_path, "train")
    assert len(dataset.load(0).class_ids) == 1
    said = remarks_of(dataset)
    assert (said.pop(NO_IMAGE), said.pop(NO_LABELS)) == (1, 3)
    assert [what.split(", first ")[0] for what in said] == [
        "entries left out: a json file cannot be read, its image left out",
        "entries left out: a json file that has no list of shapes",
        "entries left out: a second json file of one image",
    ]


@pytest.mark.parametrize(
    ("shapes", "image", "message"),
    [
        ([shape([[1, 2]], "point")], "a.jpg", r"no label can be used; .*a\.json: shape 1: .*'point'"),
        ([], "a.jpg", "no json file has a shape with a label"),
        ([CAT], "b.jpg", "none of 1 json files has its image; put it beside"),
    ],
)
def test_a_folder_without_anything_to_learn_is_refused(tmp_path, shapes, image, message):
    write_image(tmp_path / image)
    write(tmp_path / "a.json", shapes)
    with pytest.raises(DatasetError, match=message):
        read_labelme(tmp_path, "train")


def test_one_json_file_is_no_data_set(tmp_path):
    write(tmp_path / "a.json", [CAT])
    for name in ("", "labelme"):
        with pytest.raises(DatasetError, match="give the folder that holds all of them"):
            open_dataset(FolderConfig(root=str(tmp_path / "a.json"), format=name))
