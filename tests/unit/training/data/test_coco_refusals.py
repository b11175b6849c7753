"""Json files that are not COCO, or whose labels are elsewhere, are refused with what to give; encodings."""

import json

import pytest

from tests.unit.training.data.small_data import coco_document, write_image, write_json
from training.data.open import open_dataset
from training.data.readers.coco import read_coco
from training.data.readers.coco_files import is_coco
from training.data_config import FolderConfig
from training.errors import DatasetError


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_may_be_in_any_encoding_of_unicode(tmp_path, encoding):
    write_image(tmp_path / "images" / "a.jpg")
    made = coco_document("a.jpg", categories=[{"id": 1, "name": "K\u00e4fer"}])
    path = tmp_path / "annotations" / "instances_train.json"
    path.parent.mkdir()
    path.write_text(json.dumps(made, ensure_ascii=False), encoding=encoding)
    assert open_dataset(FolderConfig(root=str(tmp_path))).class_names == ("K\u00e4fer",)


def test_a_file_that_powershell_wrote_is_found_by_its_content(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "my.json").write_text(json.dumps(coco_document("a.jpg")), encoding="utf-16")
    assert len(open_dataset(FolderConfig(root=str(tmp_path)))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("K\u00e4fer".encode("latin-1"), "not in UTF-8 .* save it in UTF-8"),
        (b'{"images": ' + b"9" * 5000, "not whole JSON"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_refused(tmp_path, content, message):
    (tmp_path / "my.json").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_coco(tmp_path / "my.json", "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [{"id": 1, "data": {}, "annotations": [{"result": [{"from_name": "a", "to_name": "b"}]}]}],
            "Label Studio",
        ),
        ([{"image": "a.jpg", "label": [{"x": 1, "rectanglelabels": ["cat"]}]}], "JSON-MIN of Label Studio"),
        ({"_via_img_metadata": {"a.jpg1": {"regions": [{"region_attributes": {}}]}}}, "VGG Image Annotator"),
        ([{"image": "a.jpg", "annotations": [{"label": "a", "coordinates": {}}]}], "CreateML"),
        ({"dm_format_version": "1.0", "categories": {}, "items": []}, "Datumaro"),
        ({"samples": [{"filepath": "a.jpg"}]}, "FiftyOne's own format"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "detections of a model"),
    ],
)
def test_a_json_file_of_another_format_is_refused_by_its_name(tmp_path, content, message):
    path = write_json(tmp_path / "export.json", content)
    assert is_coco(path, "train")
    for root in (path, tmp_path):
        with pytest.raises(DatasetError, match=rf"export\.json: .*{message}"):
            open_dataset(FolderConfig(root=str(root)))


def test_a_file_of_another_format_is_refused_where_its_images_look_like_those_of_a_class(tmp_path):
    write_image(tmp_path / "export" / "a.jpg")
    write_json(tmp_path / "export" / "deeper" / "a.json", {"assets": {"x": {"asset": {}, "regions": []}}})
    with pytest.raises(DatasetError, match=r"a\.json: VoTT; export VOC"):
        open_dataset(FolderConfig(root=str(tmp_path)))


def test_panoptic_labels_are_refused_by_their_name(tmp_path):
    made = coco_document("a.jpg")
    made["annotations"] = [{"image_id": 0, "segments_info": [{"category_id": 1, "bbox": [1, 2, 3, 4]}]}]
    path = write_json(tmp_path / "annotations" / "panoptic_train2017.json", made)
    for root in (path, tmp_path):
        with pytest.raises(DatasetError, match="panoptic segmentation; give the file with boxes"):
            open_dataset(FolderConfig(root=str(root)))


@pytest.mark.parametrize("deeper", ["lot", "lot/train", "lot/unpacked"])
def test_labels_in_a_deeper_folder_are_refused_with_that_folder(tmp_path, deeper):
    write_image(tmp_path / deeper / "images" / "a.jpg")
    write_json(tmp_path / deeper / "annotations" / "instances.json", coco_document("a.jpg"))
    with pytest.raises(DatasetError, match=rf"labels are deeper; give the folder .*{deeper}$"):
        open_dataset(FolderConfig(root=str(tmp_path)))
    assert len(open_dataset(FolderConfig(root=str(tmp_path / deeper)))) == 1


def test_the_file_of_one_labelme_image_is_refused_with_what_to_give(tmp_path):
    path = write_json(tmp_path / "a.json", {"shapes": [], "imagePath": "a.jpg"})
    with pytest.raises(DatasetError, match="LabelMe file of one image; give the folder"):
        open_dataset(FolderConfig(root=str(path)))


def test_json_files_of_single_images_are_not_searched_for_coco(tmp_path):
    for number in range(17):
        write_json(tmp_path / f"{number}.json", coco_document("a.jpg"))
    assert not is_coco(tmp_path, "train")


@pytest.mark.parametrize(
    "other", ["annotations/train.json", "train/labels.json", "person_keypoints_train.json"]
)
def test_two_files_of_one_split_are_refused_with_their_names(tmp_path, other):
    write_image(tmp_path / "a.jpg")
    for name in ("train.json", other):
        write_json(tmp_path / name, coco_document("a.jpg"))
    with pytest.raises(DatasetError, match="are of the same split; take one out") as refused:
        open_dataset(FolderConfig(root=str(tmp_path)))
    assert all(str(tmp_path / name) in str(refused.value) for name in ("train.json", other))
    assert len(open_dataset(FolderConfig(root=str(tmp_path / "train.json")))) == 1
