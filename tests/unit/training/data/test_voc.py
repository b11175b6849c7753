import numpy as np
import pytest

from tests.unit.training.data.small_data import write_image, write_xml
from training.data.labels.remarks import DIFFICULT, NO_AREA, NO_IMAGE, NO_LABELS, NO_OBJECTS, OTHER_SIZE
from training.data.readers.voc import read_voc
from training.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    """Two training images of 30 × 20, one for validation; only validation has a dog."""
    for stem, objects in {
        "b": [("cat", 1, 2, 11, 12), ("bird", 5.5, 6, 9.5, 8)],
        "a": [],
        "c": [("dog", 0, 0, 30, 20)],
    }.items():
        write_image(tmp_path / "JPEGImages" / f"{stem}.png")
        write_xml(tmp_path / "Annotations" / f"{stem}.xml", objects)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\na\n")
    (lists / "val.txt").write_text("c\n\n")
    return tmp_path


def test_images_come_in_the_order_of_the_list_with_their_boxes(root):
    dataset = read_voc(root, "train")
    first, second = dataset.load(0), dataset.load(1)
    assert (len(dataset), first.name, second.name) == (2, "b", "a")
    assert first.image.shape == (20, 30, 3)
    np.testing.assert_array_equal(first.boxes_xyxy, [[1, 2, 11, 12], [5.5, 6, 9.5, 8]])
    assert [dataset.class_names[i] for i in first.class_ids] == ["cat", "bird"]


def test_an_image_without_objects_has_no_boxes(root):
    empty = read_voc(root, "train").load(1)
    assert empty.boxes_xyxy.shape == (0, 4)
    assert empty.class_ids.shape == (0,)


def test_both_splits_collect_the_same_class_names_in_sorted_order(root):
    assert read_voc(root, "train").class_names == ("bird", "cat", "dog")
    assert read_voc(root, "val").class_names == ("bird", "cat", "dog")


def test_given_class_names_keep_their_order(root):
    dataset = read_voc(root, "train", ("dog", "cat", "bird"))
    assert dataset.load(0).class_ids.tolist() == [1, 2]


def test_boxes_are_clipped_to_the_decoded_image_not_to_the_size_in_the_xml(root):
    write_xml(root / "Annotations" / "a.xml", [("cat", -4, 10, 500, 900)])
    np.testing.assert_array_equal(read_voc(root, "train").load(1).boxes_xyxy, [[0, 10, 30, 20]])


def test_boxes_without_area_are_dropped_and_counted(root):
    write_xml(root / "Annotations" / "a.xml", [("cat", 3, 3, 3, 9), ("dog", 9, 9, 4, 9), ("cat", 1, 1, 2, 2)])
    dataset = read_voc(root, "train")
    assert dataset.remarks[NO_AREA] == 2
    np.testing.assert_array_equal(dataset.load(1).boxes_xyxy, [[1, 1, 2, 2]])
    assert NO_AREA not in read_voc(root, "val").remarks


def test_a_box_wholly_outside_the_image_is_left_out_and_logged(root, caplog):
    write_xml(root / "Annotations" / "a.xml", [("cat", 40, 2, 50, 9)])
    assert len(read_voc(root, "train").load(1).class_ids) == 0
    path = root / "JPEGImages" / "a.png"
    assert caplog.messages == [f"{path}: boxes wholly outside the image, left out: 1"]


def test_encoded_is_the_file_itself(root):
    expected = (root / "JPEGImages" / "b.png").read_bytes()
    assert read_voc(root, "train").encoded(0) == expected


def test_xml_beside_images_with_upper_case_suffixes_is_read_in_sorted_order(tmp_path):
    for stem, suffix in (("two", ".JPG"), ("one", ".jpg")):
        write_image(tmp_path / "train" / (stem + suffix))
        write_xml(tmp_path / "train" / f"{stem}.xml", [("ace", 0, 0, 5, 5)])
    dataset = read_voc(tmp_path, "train")
    assert [dataset.load(i).name for i in range(len(dataset))] == ["one", "two"]


def test_an_unknown_split_lists_those_there_are(root):
    with pytest.raises(DatasetError, match=r"test\.txt.*\['train', 'val'\]"):
        read_voc(root, "test")


def test_an_unknown_split_of_folders_lists_those_there_are(tmp_path):
    write_image(tmp_path / "train" / "one.png")
    write_xml(tmp_path / "train" / "one.xml", [("ace", 0, 0, 5, 5)])
    with pytest.raises(DatasetError, match=r"val.*\['train'\]"):
        read_voc(tmp_path, "val")


def test_an_unknown_class_names_the_file_and_the_classes(root):
    with pytest.raises(DatasetError, match=r"b\.xml.*'bird'.*\['cat'\]"):
        read_voc(root, "train", ("cat",))


def test_an_empty_split_is_refused(root):
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"train\.txt: the split is empty"):
        read_voc(root, "train")


@pytest.mark.parametrize(
    ("missing", "remark"),
    [
        pytest.param("JPEGImages/b.png", NO_IMAGE, id="image"),
        pytest.param("Annotations/b.xml", NO_LABELS, id="xml"),
    ],
)
def test_what_lacks_its_other_half_is_left_out_and_counted(root, missing, remark):
    (root / missing).unlink()
    dataset = read_voc(root, "train")
    assert [dataset.load(i).name for i in range(len(dataset))] == ["a"]
    assert dataset.remarks == {remark: 1, NO_OBJECTS: 1, OTHER_SIZE: 1}  # the xml files state 999 × 999


def test_images_that_are_all_missing_are_refused(root):
    for stem in "ab":
        (root / "JPEGImages" / f"{stem}.png").unlink()
    with pytest.raises(DatasetError, match="split 'train': of 2 images none has both"):
        read_voc(root, "train")


def test_xml_files_at_another_path_than_their_images_are_not_found(root):
    (root / "Annotations").rename(root / "elsewhere")
    message = r"of 2 images none has both .*\(images without a label file, left out: 2\)"
    with pytest.raises(DatasetError, match=message):
        read_voc(root, "train")


def test_an_object_marked_difficult_is_an_ignored_region_of_its_class(root):
    xml = root / "Annotations" / "b.xml"
    marked = xml.read_text().replace("</name>", "</name><difficult>1</difficult>", 1)
    xml.write_text(marked.replace("bird</name>", "bird</name><difficult>0</difficult>"))
    dataset = read_voc(root, "train")
    sample = dataset.load(0)
    assert [dataset.class_names[i] for i in sample.class_ids] == ["bird"]
    assert [dataset.class_names[i] for i in sample.ignored_class_ids] == ["cat"]
    np.testing.assert_array_equal(sample.ignored_xyxy, [[1, 2, 11, 12]])
    assert dataset.remarks[DIFFICULT] == 1


def made(body):
    return f"<annotation><object>{body}</object></annotation>"


NUMBERS = "<xmin>{}</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("<annotation><object>", "an xml file is malformed", id="cut off"),
        pytest.param("", "an xml file is malformed", id="empty file"),
        pytest.param("<?xml version='1.0' encoding='x'?><a/>", "an xml file is malformed", id="encoding"),
        pytest.param("<project/>", "an xml file that has no annotation", id="of another program"),
        pytest.param(made("<name>cat</name>"), "an object has no bndbox", id="no box"),
        pytest.param(made(f"<bndbox>{NUMBERS.format(1)}</bndbox>"), "an object has no name", id="no name"),
        *(
            pytest.param(
                made(f"<name>cat</name><bndbox>{NUMBERS.format(number)}</bndbox>"),
                "bndbox is not four finite numbers",
                id=number or "empty",
            )
            for number in ("wide", "nan", "")
        ),
    ],
)
def test_what_cannot_be_used_is_left_out_counted_and_named(root, text, reason):
    (root / "Annotations" / "a.xml").write_text(text)
    dataset = read_voc(root, "train")
    assert len(dataset.load(0).class_ids) == 2
    (said,) = (what for what in dataset.remarks if what.startswith("entries left out: "))
    assert said.startswith(f"entries left out: {reason}")
    assert f"first {root}/Annotations/a.xml" in said


def test_a_folder_without_one_usable_xml_file_is_refused(root):
    for xml in (root / "Annotations").iterdir():
        xml.write_text("<annotation>")
    with pytest.raises(DatasetError, match=r"no label can be used; .*a\.xml.*malformed"):
        read_voc(root, "train")


def test_an_image_that_cannot_be_decoded_is_named_when_it_is_loaded(root):
    (root / "JPEGImages" / "b.png").write_bytes(b"not an image")
    dataset = read_voc(root, "train")
    with pytest.raises(DatasetError, match=r"b\.png: this is not an image"):
        dataset.load(0)
