"""COCO as labelling tools write it: where the files are, what the ids and names look like."""

import pytest

from tests.unit.training.data.small_data import coco_document, write_image, write_json
from training.data.labels.remarks import (
    EQUAL_NAMES,
    GROUPS,
    LISTED_TWICE,
    NO_IMAGE,
    OTHER_SIZE,
    OUTSIDE,
    REGIONS,
    REPEATED,
)
from training.data.open import open_dataset
from training.data.readers.coco import read_coco
from training.data_config import FolderConfig
from training.errors import DatasetError, NoSuchSplit


def remarks_of(dataset):
    return {what: count for what, count in dataset.remarks.items() if count}


@pytest.mark.parametrize(
    ("label_file", "image", "file_name"),
    [
        pytest.param("labels.json", "data/a.jpg", "a.jpg", id="FiftyOne"),
        pytest.param("train/labels.json", "train/data/a.jpg", "a.jpg", id="FiftyOne, split by split"),
        pytest.param("result.json", "images/1f-a.jpg", r"images\1f-a.jpg", id="Label Studio on Windows"),
        pytest.param(
            "annotations/instances_default.json", "images/default/a.jpg", "a.jpg", id="CVAT, new layout"
        ),
        pytest.param("annotations/instances_default.json", "images/a.jpg", "a.jpg", id="CVAT, old layout"),
        pytest.param(
            "annotations/person_keypoints_default.json", "images/a.jpg", "a.jpg", id="CVAT keypoints"
        ),
        pytest.param(
            "annotations/instances_train.json", "images/train/sub/a b.jpg", "sub/a b.jpg", id="Datumaro"
        ),
        pytest.param("train/_annotations.coco.json", "train/a_png.rf.1.jpg", "a_png.rf.1.jpg", id="Roboflow"),
        pytest.param("_annotations.coco.json", "a.jpg", "a.jpg", id="Roboflow, one folder"),
        pytest.param("annotations/train.json", "train/a.jpg", "a.jpg", id="plain"),
        pytest.param("train.json", "images/a.jpg", "./images/a.jpg", id="beside images/"),
        pytest.param("train_annotations.json", "photos/a.jpg", "a.jpg", id="a word of the name"),
        pytest.param("labels/train.json", "images/train/a.jpg", "train/a.jpg", id="labels/"),
        pytest.param("annotations/person_keypoints_train2017.json", "train2017/a.jpg", "a.jpg", id="year"),
        pytest.param("annotations/instances_train.json", "train2017/a.jpg", "a.jpg", id="year of the folder"),
        pytest.param("train.json", "images/Train_images/a.jpg", "a.jpg", id="a word of the folder"),
        pytest.param("annotations/train.json", "Images/lot 1/a.jpg", "a.jpg", id="in a folder below another"),
        pytest.param("labels_cats_2024-05-01.json", "images/a.jpg", "a.jpg", id="makesense"),
        pytest.param("LABELS.JSON", "images/a.jpg", "a.jpg", id="in capitals"),
    ],
)
def test_the_layout_of_a_tool_is_read(tmp_path, label_file, image, file_name):
    write_image(tmp_path / image)
    path = write_json(tmp_path / label_file, coco_document(file_name))
    for root in (tmp_path, path):
        dataset = open_dataset(FolderConfig(root=str(root)))
        assert dataset.load(0).boxes_xyxy.tolist() == [[1, 2, 11, 10]]
        assert dataset.class_names == ("red", "blue")


@pytest.mark.parametrize(
    ("file_name", "stored"),
    [
        ("a%20b.jpg", "a b.jpg"),
        ("http://host/data/upload/a%20b.jpg?x=1", "a b.jpg"),
        ("s3://bucket/deep/a.jpg", "a.jpg"),
        (" deep/a.jpg\n", "deep/a.jpg"),
        ("https://host/deep/a.jpg?Signature=b%3D&d=1", "a.jpg"),
        ("/data/local-files/?d=photos%2Fa.jpg", "photos/a.jpg"),
        ("/data/upload/1/0123abcd-a.jpg", "0123abcd-a.jpg"),
        ("/data/upload/1/0123abcd-a.jpg", "a.jpg"),
        ("/home/me/project/deep/a.jpg", "deep/a.jpg"),
        ("C:\\photos\\A.JPG", "a.jpg"),
        ("a.jpg", "first/shelf/a.jpg"),
        ("U\u0308ber.jpg", "\u00dcber.jpg"),
        ("100%.jpg", "100%.jpg"),
    ],
)
def test_an_image_is_found_by_any_name_of_its_file(tmp_path, file_name, stored):
    write_image(tmp_path / "images" / stored)
    write_json(tmp_path / "result.json", coco_document(file_name))
    assert len(read_coco(tmp_path, "train").load(0).class_ids) == 1


def test_a_path_on_this_machine_is_read_if_the_folders_have_no_such_image(tmp_path):
    write_image(tmp_path / "elsewhere" / "a.jpg", (20, 30))
    write_json(tmp_path / "export" / "result.json", coco_document(str(tmp_path / "elsewhere" / "a.jpg")))
    assert read_coco(tmp_path / "export", "train").load(0).image.shape[:2] == (20, 30)
    write_image(tmp_path / "export" / "a.jpg", (40, 50))
    assert read_coco(tmp_path / "export", "train").load(0).image.shape[:2] == (40, 50)


@pytest.mark.parametrize(
    "odd", ["data:image/png;base64," + "A" * 5000, "http://[host/b.jpg", "a\0.jpg", "..", "/", ["a.jpg"]]
)
def test_a_file_name_that_names_no_file_is_counted(tmp_path, odd):
    write_image(tmp_path / "a.jpg")
    write_json(tmp_path / "my.json", coco_document("a.jpg", odd))
    assert remarks_of(read_coco(tmp_path, "train")) == {NO_IMAGE: 1}
    write_json(tmp_path / "my.json", coco_document(odd))
    with pytest.raises(DatasetError, match=r"none of the 1 images .* is there") as refused:
        read_coco(tmp_path, "train")
    assert len(str(refused.value)) < 1000


def test_a_path_may_lead_from_the_label_file_to_another_folder(tmp_path):
    write_image(tmp_path / "photos" / "deep" / "a.jpg")
    for way in ("../photos/deep/a.jpg", r"..\photos\deep\a.jpg"):
        path = write_json(tmp_path / "labels" / "my.json", coco_document(way))
        for root in (path, path.parent):
            assert read_coco(root, "train").load(0).name == "a"


@pytest.mark.parametrize(
    ("stated", "left"),
    [
        pytest.param({"height": 20, "width": 60}, [[40, 5, 50, 10]], id="right"),
        pytest.param({"height": 60, "width": 20}, [[40, 5, 50, 10]], id="exchanged"),
        pytest.param({"height": 10, "width": 30}, [[40, 5, 50, 10]], id="of a smaller copy"),
    ],
)
def test_a_wrong_size_does_not_leave_out_boxes_that_are_in_the_image(tmp_path, stated, left):
    write_image(tmp_path / "images" / "a.png", (20, 60))
    made = coco_document("a.png", box=(40, 5, 10, 5))
    made["images"][0] |= stated
    made["annotations"].append(made["annotations"][0] | {"bbox": [70, 5, 10, 5]})
    write_json(tmp_path / "my.json", made)
    dataset = read_coco(tmp_path, "train")
    assert dataset.load(0).boxes_xyxy.tolist() == left
    assert remarks_of(dataset) == {OUTSIDE: 1}


def test_images_of_another_size_than_stated_are_counted_once(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, (20, 30))
    made = coco_document("a.png", "b.png", "c.png")
    made["images"][0] |= {"height": 40, "width": 60}  # the labels are of a larger copy
    made["images"][1] |= {"height": 30, "width": 20}  # exchanged, so boxes fit all the same
    write_json(tmp_path / "my.json", made)
    dataset = read_coco(tmp_path, "train")
    for index in (0, 1, 2, 0):
        dataset.load(index)
    assert remarks_of(dataset) == {OTHER_SIZE: 1}


def test_a_file_name_may_be_in_the_address_that_lvis_writes(tmp_path):
    write_image(tmp_path / "train2017" / "000000391895.jpg")
    made = coco_document("")
    made["images"][0]["coco_url"] = "http://images.cocodataset.org/train2017/000000391895.jpg"
    write_json(tmp_path / "annotations" / "lvis_v1_train.json", made)
    (tmp_path / "train2017").rename(tmp_path / "train")
    assert read_coco(tmp_path, "train").load(0).name == "000000391895"


def test_images_in_a_format_that_is_not_read_are_counted(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "without-suffix")
    (tmp_path / "images" / "b.psd").touch()
    write_json(tmp_path / "result.json", coco_document("without-suffix", "b.psd"))
    dataset = read_coco(tmp_path, "train")
    assert len(dataset.load(0).class_ids) == 1
    assert remarks_of(dataset) == {"images in a format that is not read (.psd), left out": 1}


def test_an_image_of_another_folder_of_the_same_name_is_not_taken(tmp_path):
    write_image(tmp_path / "train" / "a.jpg")
    write_image(tmp_path / "valid" / "b.jpg")
    write_json(tmp_path / "train" / "_annotations.coco.json", coco_document("a.jpg", "b.jpg"))
    dataset = read_coco(tmp_path, "train")
    assert (len(dataset), dataset.remarks[NO_IMAGE]) == (1, 1)


def test_valid_is_the_validation_split_and_test_its_own(tmp_path):
    for split in ("train", "valid", "test"):
        write_image(tmp_path / split / f"{split}.jpg")
        write_json(tmp_path / split / "_annotations.coco.json", coco_document(f"{split}.jpg"))
    assert [read_coco(tmp_path, each).load(0).name for each in ("train", "val", "test")] == [
        *("train", "valid", "test")
    ]


@pytest.mark.parametrize("as_file", [True, False])
def test_one_file_is_for_training_and_holds_no_other_split(tmp_path, as_file):
    write_image(tmp_path / "images" / "a.jpg")
    path = write_json(tmp_path / "result.json", coco_document("a.jpg"))
    with pytest.raises(NoSuchSplit, match="hold out a fifth of the training images with --hold-out"):
        open_dataset(FolderConfig(root=str(path if as_file else tmp_path), split="val"))


def test_a_file_of_validation_labels_is_the_split_in_its_name(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    path = write_json(tmp_path / "annotations" / "instances_val2017.json", coco_document("a.jpg"))
    assert len(read_coco(path, "val")) == 1


@pytest.mark.parametrize(
    "ids",
    [
        *((0, 1, 2), ("img_1", "a", "007"), (2**70, 1, 5), (1.0, 2.0, 3.5), ("9f-3", 4, -1)),
        (1, "9" * 5000, 3),
    ],
)
def test_ids_of_any_kind_join_images_and_boxes(tmp_path, ids):
    made = coco_document("a.jpg", "b.jpg", "c.jpg")
    for image, label, own in zip(made["images"], made["annotations"], ids, strict=True):
        image["id"], label["image_id"] = own, own
        label["bbox"][0] = int(own == ids[2])
        write_image(tmp_path / "images" / image["file_name"])
    made["annotations"][0]["image_id"] = str(ids[0]).removesuffix(".0")  # 1.0, 1 and "1" are the same
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert sum(len(dataset.class_ids(place)) for place in range(len(dataset))) == len(dataset)


def test_category_ids_may_be_texts_in_their_own_order(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg", categories=[{"id": "z", "name": "red"}, {"id": "b", "name": "blue"}])
    made["annotations"][0]["category_id"] = "b"
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("red", "blue"), [1])


def roboflow(root, used_by_valid):
    categories = [
        {"id": 0, "name": "fish", "supercategory": "none"},
        {"id": 1, "name": "shark", "supercategory": "fish"},
        {"id": 2, "name": "ray", "supercategory": "fish"},
    ]
    for split, category in (("train", 2), ("valid", used_by_valid)):
        write_image(root / split / f"{split}.jpg")
        made = coco_document(f"{split}.jpg", categories=categories)
        made["annotations"][0]["category_id"] = category
        write_json(root / split / "_annotations.coco.json", made)


def test_a_group_without_boxes_in_any_split_is_no_class(tmp_path):
    roboflow(tmp_path, used_by_valid=1)
    for split, class_id in (("train", 1), ("val", 0)):
        dataset = read_coco(tmp_path, split)
        assert dataset.class_names == ("shark", "ray")
        assert dataset.class_ids(0).tolist() == [class_id]
        assert remarks_of(dataset) == {GROUPS: 1}


@pytest.mark.parametrize("name", ["_background_", "background", "__background__", "Background"])
def test_a_background_without_boxes_is_no_class(tmp_path, name):
    write_image(tmp_path / "a.jpg")
    made = coco_document("a.jpg")
    made["categories"].insert(0, {"id": 0, "name": name})
    write_json(tmp_path / "annotations.json", made)
    dataset = read_coco(tmp_path, "train")
    assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("red", "blue"), [0])
    assert remarks_of(dataset) == {GROUPS: 1}
    made["annotations"][0]["category_id"] = 0
    write_json(tmp_path / "annotations.json", made)
    assert read_coco(tmp_path, "train").class_names == (name, "red", "blue")


def test_a_group_with_boxes_in_another_split_is_a_class_of_all(tmp_path):
    roboflow(tmp_path, used_by_valid=0)
    assert read_coco(tmp_path, "train").class_names == ("fish", "shark", "ray")


def test_a_category_that_is_its_own_group_or_has_no_box_stays(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "person", "supercategory": "person"}]
    write_json(tmp_path / "result.json", coco_document("a.jpg", categories=categories))
    assert read_coco(tmp_path, "train").class_names == ("red", "person")


def test_categories_of_one_name_are_one_class(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    names = {1: "red", 4: "blue", 9: "red "}
    made = coco_document("a.jpg", categories=[{"id": each, "name": name} for each, name in names.items()])
    made["annotations"].append({"image_id": 0, "category_id": 9, "bbox": [0, 0, 5, 5]})
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("red", "blue"), [0, 0])
    assert remarks_of(dataset) == {EQUAL_NAMES: 1}


SQUARE = {"counts": [1450, *[10, 38] * 19, 10, 700], "size": [48, 64]}  # rows 10 to 19 of columns 30 to 49


@pytest.mark.parametrize(
    ("outline", "box"),
    [
        pytest.param([[3, 4, 9, 4, 6, 12]], [3, 4, 9, 12], id="polygon"),
        pytest.param([[3, 4, 5, 6, 4, 5], [10, 1, 12, 2, 11, 3]], [3, 1, 12, 6], id="two polygons"),
        pytest.param([3, 4, 9, 4, 6, 12], [3, 4, 9, 12], id="without its inner list"),
        pytest.param([[[3, 4], [9, 4], [6, 12]]], [3, 4, 9, 12], id="points as pairs"),
        pytest.param(SQUARE, [30, 10, 50, 20], id="runs"),
        pytest.param(
            {"counts": "Z]1:V10000000000000000000000000000000000000fd0", "size": [48, 64]},
            [30, 10, 50, 20],
            id="the same runs compressed by the COCO API",
        ),
        pytest.param({"counts": "848", "size": [5, 4]}, [1, 0, 3, 5], id="a run over two columns"),
    ],
)
@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], "missing"])
def test_without_a_box_the_box_around_the_outline_counts(tmp_path, outline, box, bbox):
    write_image(tmp_path / "images" / "a.jpg", (48, 64))
    made = coco_document("a.jpg")
    made["images"][0] |= {"height": 48, "width": 64}
    made["annotations"] = [{"image_id": 0, "category_id": 1, "segmentation": outline, "bbox": bbox}]
    if bbox == "missing":
        del made["annotations"][0]["bbox"]
    write_json(tmp_path / "result.json", made)
    assert read_coco(tmp_path, "train").load(0).boxes_xyxy.tolist() == [box]


@pytest.mark.parametrize(
    "outline",
    [
        [],
        [[1, 2]],
        [[1, 2, 3, 4, 5]],
        [["a", "b", "c", "d"]],
        {"counts": [20], "size": [5, 4]},
        {"counts": [0, 0], "size": [0, 0]},
        {"counts": [0, 1, 0], "size": [0, 4]},
        {"counts": [-5, 25], "size": [5, 4]},
        {"counts": "d0"},
        7,
    ],
)
def test_an_outline_that_shows_nothing_gives_no_box(tmp_path, outline):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg")
    made["annotations"].append({"image_id": 0, "category_id": 1, "segmentation": outline})
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert len(dataset.class_ids(0)) == 1
    assert sum(remarks_of(dataset).values()) == 1


@pytest.mark.parametrize("bbox", [["1", "2", "10", "8"], "[1, 2, 10.0, 8]", "1 2 10 8"])
def test_a_box_may_be_written_as_text(tmp_path, bbox):
    write_image(tmp_path / "images" / "a.jpg")
    write_json(
        tmp_path / "result.json",
        coco_document("a.jpg", annotations=[{"image_id": 0, "category_id": 1, "bbox": bbox}]),
    )
    assert read_coco(tmp_path, "train").load(0).boxes_xyxy.tolist() == [[1, 2, 11, 10]]


def test_boxes_that_repeat_count_once_and_ids_that_repeat_mean_nothing(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg")
    made["annotations"] += [
        {"id": 5, "image_id": 0, "category_id": 1, "bbox": [1, 2, 10, 8]},
        {"id": 0, "image_id": 0, "category_id": 5, "bbox": [1, 2, 10, 8]},
    ]
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert dataset.class_ids(0).tolist() == [0, 1]
    assert remarks_of(dataset) == {REPEATED: 1}


def test_an_image_that_is_listed_twice_has_the_boxes_of_both_entries(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg", "a.jpg")
    made["annotations"][1]["category_id"] = 5
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert (len(dataset), dataset.class_ids(0).tolist()) == (1, [0, 1])
    assert remarks_of(dataset) == {LISTED_TWICE: 1}


@pytest.mark.parametrize(
    ("flags", "ignored"),
    [({"iscrowd": "0"}, 0), ({"iscrowd": None, "ignore": 0}, 0), ({"iscrowd": True}, 1), ({"ignore": 1}, 1)],
)
def test_flags_of_any_spelling_decide_whether_a_box_is_ignored(tmp_path, flags, ignored):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg")
    made["annotations"][0] |= flags
    write_json(tmp_path / "result.json", made)
    dataset = read_coco(tmp_path, "train")
    assert len(dataset.load(0).ignored_xyxy) == ignored
    assert dataset.remarks[REGIONS] == ("ignore" in flags and ignored)


def test_an_image_entry_that_cannot_be_used_does_not_refuse_the_others(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg")
    made["images"] += [{"id": 8}, None, {"file_name": "b.jpg"}]
    write_json(tmp_path / "result.json", made)
    assert remarks_of(read_coco(tmp_path, "train")) == {
        "entries left out: an image needs an id and a file_name, first id 8: {'id': 8}": 3
    }
