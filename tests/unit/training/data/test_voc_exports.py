"""VOC as labelling tools write it: where the files are, and what is odd in them."""

import pytest

from tests.unit.training.data.small_data import write_image, write_xml
from training.data.labels.remarks import (
    CLIPPED,
    DIFFICULT,
    EQUAL_NAMES,
    NO_IMAGE,
    NO_LABELS,
    OUTSIDE,
    SWAPPED,
)
from training.data.open import open_dataset
from training.data.readers.voc import read_voc
from training.data_config import FolderConfig
from training.errors import DatasetError, NoSuchSplit

CAT = ("cat", 1, 2, 11, 12)


@pytest.mark.parametrize(
    ("xml", "image"),
    [
        pytest.param("a b.xml", "a b.jpg", id="labelImg, all in one folder"),
        pytest.param("train/a_jpg.rf.1.xml", "train/a_jpg.rf.1.jpg", id="Roboflow"),
        pytest.param("labels/a.xml", "data/a.jpg", id="FiftyOne"),
        pytest.param("train/labels/a.xml", "train/data/a.jpg", id="FiftyOne, split by split"),
        pytest.param("Annotations/a%20b.xml", "images/a b.jpg", id="Label Studio"),
        pytest.param("annotations/a.xml", "images/a.PNG", id="small letters"),
        pytest.param("Annotations/train/sub/a.xml", "JPEGImages/train/sub/a.jpg", id="subfolders"),
        pytest.param("my labels/a.xml", "photos/a.jpg", id="other folders"),
    ],
)
def test_the_layout_of_a_tool_is_read(tmp_path, xml, image):
    write_image(tmp_path / image)
    write_xml(tmp_path / xml, [CAT])
    dataset = open_dataset(FolderConfig(root=str(tmp_path)))
    assert dataset.load(0).boxes_xyxy.tolist() == [[1, 2, 11, 12]]
    with pytest.raises(NoSuchSplit, match="hold-out"):
        open_dataset(FolderConfig(root=str(tmp_path), split="val"))


def test_lists_of_images_beside_xml_files_do_not_make_a_folder_visdrone(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write_xml(tmp_path / "annotations" / "xmls" / "a.xml", [CAT])
    (tmp_path / "annotations" / "trainval.txt").write_text("a 1 1 1\n")  # the Oxford-IIIT Pet data set
    assert open_dataset(FolderConfig(root=str(tmp_path))).class_names == ("cat",)


def test_splits_of_images_part_the_xml_files_of_one_folder(tmp_path):
    for split, name in (("train", "a"), ("val", "b"), ("val", "c"), ("test", "c")):
        write_image(tmp_path / "images" / split / f"{name}.jpg")
        write_xml(tmp_path / "annotations" / f"{name}.xml", [CAT])
    train, val = (read_voc(tmp_path, split) for split in ("train", "val"))
    assert [train.load(0).name, val.load(0).name] == ["a", "b"]
    assert (len(val), val.remarks[NO_LABELS]) == (1, 1)  # c.xml can be of two images


def test_a_file_in_utf_16_is_read(tmp_path):
    write_image(tmp_path / "a.jpg")
    write_xml(tmp_path / "a.xml", [("K\u00e4fer", 1, 2, 11, 12)])
    text = (tmp_path / "a.xml").read_text(encoding="utf-8")
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0" encoding="utf-16"?>{text}', encoding="utf-16")
    assert open_dataset(FolderConfig(root=str(tmp_path))).class_names == ("K\u00e4fer",)


@pytest.mark.parametrize("line", ["sub/a b", '"sub/a b"', "sub/a b  1", "sub/a b -1", "sub/a b.jpg"])
def test_a_list_names_images_with_spaces_and_folders(tmp_path, line):
    write_image(tmp_path / "JPEGImages" / "sub" / "a b.jpg")
    write_xml(tmp_path / "Annotations" / "sub" / "a b.xml", [CAT])
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text(line + "\n")  # CVAT calls the list of a task so
    assert len(read_voc(tmp_path, "train").load(0).class_ids) == 1


def test_valid_and_val_mean_the_same_and_train_never_has_their_images(tmp_path):
    for split in ("train", "valid"):
        write_image(tmp_path / split / f"{split}.jpg")
        write_xml(tmp_path / split / f"{split}.xml", [CAT])
    write_xml(tmp_path / "train" / "valid.xml", [CAT])  # its image is in the other split
    dataset = read_voc(tmp_path, "train")
    assert [len(dataset), dataset.remarks[NO_IMAGE]] == [1, 1]
    assert read_voc(tmp_path, "val").load(0).name == "valid"


def test_the_folder_above_the_lists_is_refused_with_the_right_one(tmp_path):
    (tmp_path / "VOC2007" / "ImageSets" / "Main").mkdir(parents=True)
    write_image(tmp_path / "VOC2007" / "JPEGImages" / "a.jpg")
    write_xml(tmp_path / "VOC2007" / "Annotations" / "a.xml", [CAT])
    with pytest.raises(DatasetError, match=r"give the folder .*/VOC2007$"):
        read_voc(tmp_path, "train")


def test_the_file_name_in_the_xml_finds_an_image_of_another_name(tmp_path):
    write_image(tmp_path / "photo.jpg")
    write_xml(tmp_path / "0001.xml", [CAT])
    text = (tmp_path / "0001.xml").read_text()
    (tmp_path / "0001.xml").write_text(
        text.replace(
            "<size>", r"<filename>C:\photos\photo.png</filename><path>/home/x/photo.png</path><size>"
        )
    )
    dataset = read_voc(tmp_path, "train")
    assert (dataset.load(0).name, dataset.remarks[NO_LABELS]) == ("photo", 0)


def test_of_two_images_of_one_name_the_xml_says_which(tmp_path):
    write_image(tmp_path / "a.jpg", (20, 30))
    write_image(tmp_path / "a.png", (40, 50))
    write_xml(tmp_path / "a.xml", [CAT])
    with pytest.raises(DatasetError, match="have the same labels"):
        read_voc(tmp_path, "train")
    text = (tmp_path / "a.xml").read_text()
    (tmp_path / "a.xml").write_text(text.replace("<size>", "<filename>a.png</filename><size>"))
    assert read_voc(tmp_path, "train").load(0).image.shape[:2] == (40, 50)


def test_images_without_xml_are_counted(tmp_path):
    for name in "ab":
        write_image(tmp_path / f"{name}.jpg")
    write_xml(tmp_path / "a.xml", [CAT])
    assert read_voc(tmp_path, "train").remarks[NO_LABELS] == 1


def test_images_in_a_format_that_is_not_read_are_counted(tmp_path):
    write_image(tmp_path / "a.jpg")
    (tmp_path / "b.psd").touch()
    for name in "ab":
        write_xml(tmp_path / f"{name}.xml", [CAT])
    assert read_voc(tmp_path, "train").remarks["images in a format that is not read (.psd), left out"] == 1


def test_names_that_differ_in_case_and_spaces_are_one_class(tmp_path):
    write_image(tmp_path / "a.jpg")
    write_xml(
        tmp_path / "a.xml",
        [
            ("Red fish", 1, 1, 3, 3),
            ("red  fish", 2, 2, 4, 4),
            ("Red fish", 5, 5, 9, 9),
            ("RED FISH", 4, 4, 8, 8),
        ],
    )
    dataset = read_voc(tmp_path, "train")
    assert (dataset.class_names, dataset.class_ids(0).tolist()) == (("Red fish",), [0, 0, 0, 0])
    assert dataset.remarks[EQUAL_NAMES] == 2
    assert read_voc(tmp_path, "train", ("ant", "RED fish")).class_ids(0).tolist() == [1, 1, 1, 1]


def test_given_classes_may_differ_in_case_alone(tmp_path):
    write_image(tmp_path / "a.jpg")
    write_xml(tmp_path / "a.xml", [("polish", 1, 1, 3, 3), ("Polish", 2, 2, 4, 4)])
    assert read_voc(tmp_path, "train", ("Polish", "polish")).class_ids(0).tolist() == [1, 0]


def test_exchanged_corners_are_put_right_and_counted(tmp_path):
    write_image(tmp_path / "a.jpg")
    write_xml(tmp_path / "a.xml", [("cat", 11, 2, 1, 12), ("cat", 5.5, 9, 7.25, 4), ("cat", 1, 1, 2, 2)])
    dataset = read_voc(tmp_path, "train")
    assert dataset.load(0).boxes_xyxy.tolist() == [[1, 2, 11, 12], [5.5, 4, 7.25, 9], [1, 1, 2, 2]]
    assert dataset.remarks[SWAPPED] == 2


@pytest.mark.parametrize(
    ("size", "box", "left", "remark"),
    [
        pytest.param((30, 20), (20, 2, 50, 12), [[20, 2, 30, 12]], CLIPPED, id="over the edge"),
        pytest.param((30, 20), (40, 2, 50, 12), [], OUTSIDE, id="outside"),
        pytest.param((3, 2), (20, 2, 50, 12), [[20, 2, 30, 12]], CLIPPED, id="a wrong size"),
        pytest.param((20, 30), (22, 2, 29, 12), [[22, 2, 29, 12]], None, id="width and height exchanged"),
        pytest.param((0, 0), (20, 2, 50, 12), [[20, 2, 30, 12]], None, id="no size"),
        pytest.param(("", "x"), (20, 2, 29, 12), [[20, 2, 29, 12]], None, id="a size that is no number"),
    ],
)
def test_boxes_beyond_the_image_are_clipped_or_left_out_and_counted(tmp_path, size, box, left, remark):
    write_image(tmp_path / "a.png")
    write_xml(tmp_path / "a.xml", [("cat", *box)])
    width, height = size
    text = (tmp_path / "a.xml").read_text().replace("<width>999", f"<width>{width}")
    (tmp_path / "a.xml").write_text(text.replace("<height>999", f"<height>{height}"))
    dataset = read_voc(tmp_path, "train")
    assert dataset.load(0).boxes_xyxy.tolist() == left
    assert remark is None or dataset.remarks[remark] == 1


ONLINE_LABELME = """<annotation><filename>a.jpg</filename>
<imagesize><nrows>20</nrows><ncols>30</ncols></imagesize>
<object><name>cat</name><deleted>0</deleted><polygon><username>me</username><pt><x>1.5</x><y>2</y></pt>
<pt><x>11</x><y>2</y></pt><pt><x>11</x><y>12</y></pt></polygon></object>
<object><name>cat</name><deleted>1</deleted><polygon><pt><x>1</x><y>2</y></pt></polygon></object></annotation>"""
ROBOFLOW_POLYGON = """<annotation><object><name>cat</name><polygon><x1>1.5</x1><y1>2</y1><x2>11</x2><y2>2</y2>
<x3>11</x3><y3>12</y3></polygon></object></annotation>"""


@pytest.mark.parametrize("text", [ONLINE_LABELME, ROBOFLOW_POLYGON])
def test_an_object_without_bndbox_has_the_box_around_its_polygon(tmp_path, text):
    write_image(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(text)
    assert read_voc(tmp_path, "train").load(0).boxes_xyxy.tolist() == [[1.5, 2, 11, 12]]


@pytest.mark.parametrize("polygon", ["", "<x1>a</x1><y1>2</y1>", "<x1>nan</x1><y1>2</y1>", "<x1>2</x1>"])
def test_a_polygon_without_points_gives_no_object(tmp_path, polygon):
    write_image(tmp_path / "a.jpg")
    odd = f"<object><name>cat</name><polygon>{polygon}</polygon></object>"
    text = ROBOFLOW_POLYGON.replace("</annotation>", f"{odd}</annotation>")
    (tmp_path / "a.xml").write_text(text)
    dataset = read_voc(tmp_path, "train")
    assert len(dataset.load(0).boxes_xyxy) == 1
    reason = "an object has no bndbox, and a polygon without finite numbers"
    assert dataset.remarks[f"entries left out: {reason}, first {tmp_path / 'a.xml'}: object 2"] == 1


@pytest.mark.parametrize(
    ("flag", "difficult"), [("", 0), ("<difficult/>", 0), ("<difficult> True </difficult>", 1)]
)
def test_difficult_may_be_missing_or_written_otherwise(tmp_path, flag, difficult):
    write_image(tmp_path / "a.jpg")
    write_xml(tmp_path / "a.xml", [CAT])
    (tmp_path / "a.xml").write_text((tmp_path / "a.xml").read_text().replace("<bndbox>", f"{flag}<bndbox>"))
    assert read_voc(tmp_path, "train").remarks[DIFFICULT] == difficult


@pytest.mark.parametrize("of", ["<image id='0' name='a.jpg'/>", "<track id='0'><box frame='0'/></track>"])
def test_cvat_s_own_xml_is_refused_by_its_name(tmp_path, of):
    (tmp_path / "annotations.xml").write_text(f"<annotations>{of}</annotations>")
    with pytest.raises(DatasetError, match=r"annotations\.xml: CVAT's own format; export COCO"):
        open_dataset(FolderConfig(root=str(tmp_path)))


def test_one_xml_file_is_no_data_set(tmp_path):
    write_xml(tmp_path / "a.xml", [CAT])
    with pytest.raises(DatasetError, match="give the folder that holds all"):
        open_dataset(FolderConfig(root=str(tmp_path / "a.xml")))


def test_files_of_other_programs_do_not_make_a_folder_voc(tmp_path):
    for side in range(1, 9):  # different images, of which some are for training
        for name in ("ace", "king"):
            write_image(tmp_path / name / f"{side}.jpg", (side, 20))
    (tmp_path / ".idea").mkdir()
    (tmp_path / ".idea" / "workspace.xml").write_text("<project/>")
    assert open_dataset(FolderConfig(root=str(tmp_path))).class_names == ("ace", "king")
