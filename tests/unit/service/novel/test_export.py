"""Kept images become a data set for label tools, with the predictions as proposals."""

import contextlib
import io
import json
import warnings
import xml.etree.ElementTree as ET
from argparse import ArgumentParser

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.mask import decode

from service.__main__ import main
from service.errors import ExportRefused
from service.novel.commands import add_novel_commands
from service.novel.export import export
from service.pipeline.masks import Mask
from service.pipeline.rle import encode_rle
from service.pipeline.rotated import corners_of
from tests.unit.service.novel.conftest import keep, record
from training.data.open import open_dataset
from training.data_config import FolderConfig

HW = (50, 100)  # of every image


def box(x=30.0, y=20.0, width=20.0, height=10.0, name="red", confidence=0.9, **more):
    class_id = ["red", "green"].index(name)
    return {
        "x": x, "y": y, "width": width, "height": height, "class": name, "class_id": class_id,
        "confidence": confidence, **more,
    }  # fmt: skip


BOXES = [box(), box(70.0, 25.0, 8.0, 6.0, "green", 0.4)]


@pytest.fixture
def exported(folder, tmp_path):
    """Return a function that exports records, and gives the new folder."""

    def run(to, *records, **options):
        keep(folder(images=10), *records)
        chosen = {"model": None, "most": None, "prefix": "/d?=", **options}
        export(tmp_path / "novel", tmp_path / "out", to, **chosen)
        return tmp_path / "out"

    return run


def coco_of(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / "annotations" / "instances_default.json"))


def tasks_of(folder):
    return json.loads((folder / "tasks.json").read_text())


def regions_of(folder):
    return tasks_of(folder)[0]["predictions"][0]["result"]


def test_pycocotools_reads_the_images_and_boxes_the_most_novel_image_first(exported):
    coco = coco_of(exported("coco", record(1, 1.0), record(2, 2.0, predictions=BOXES)))
    assert [one["file_name"] for one in coco.dataset["images"]] == [f"{n:016x}.jpg" for n in (2, 1)]
    assert coco.dataset["images"][0]["novelty"] == {"score": 2.0, "rank": 0.5, "why": "rare-path"}
    first, second = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert (first["bbox"], first["area"], first["score"]) == ([20.0, 15.0, 20.0, 10.0], 200.0, 0.9)
    assert coco.loadCats(second["category_id"])[0]["name"] == "green"
    assert coco.getAnnIds(imgIds=2) == []
    assert first["id"] == 1  # pycocotools' evaluation takes an id of 0 for no object


def test_training_reads_the_folder(exported):
    # The reader decodes the images, so these are real ones.
    from PIL import Image

    out = exported("coco", record(1, predictions=BOXES))
    for path in (out / "images" / "default").iterdir():
        Image.new("RGB", HW[::-1]).save(path)
    sample = open_dataset(FolderConfig(root=str(out))).load(0)
    assert sample.boxes_xyxy.tolist() == [[20, 15, 40, 25], [66, 22, 74, 28]]


def test_a_mask_stays_the_same_mask_in_coco_and_becomes_its_outline_in_label_studio(exported, tmp_path):
    columns = np.arange(10, 20)
    mask = Mask(columns, np.full(10, 5), np.full(10, 25))  # 10 columns of 20 pixels
    rle = {"size": list(HW), "counts": encode_rle(mask, HW)}
    one = record(1, task="segment", predictions=[box(15.0, 15.0, 10.0, 20.0, mask=rle)])
    (found,) = coco_of(exported("coco", one)).dataset["annotations"]
    assert (found["segmentation"], found["area"]) == (rle, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools does not know NumPy 2 yet
        assert decode(found["segmentation"])[5:25, 10:20].all()
    export(tmp_path / "novel", tmp_path / "studio", "label-studio", model=None, most=None, prefix="")
    (region,) = regions_of(tmp_path / "studio")
    points = np.array(region["value"]["points"]) * (1.0, 0.5)  # from per cent to pixels
    assert region["type"] == "polygonlabels"
    assert (points.min(axis=0).tolist(), points.max(axis=0).tolist()) == ([10, 5], [20, 25])


def test_a_rotated_box_is_turned_around_its_corner_in_label_studio(exported, tmp_path):
    corners = corners_of(np.array([[40.0, 15.0, 60.0, 25.0]]), np.array([np.pi / 2]))[0].tolist()
    turned = box(50.0, 20.0, rotation=90.0, corners=corners)
    out = exported("label-studio", record(1, task="obb", predictions=[turned]))
    value = regions_of(out)[0]["value"]
    # 20 x 10 pixels, turned by 90 degrees clockwise around its top left corner, which is then at the right.
    assert (value["x"], value["y"]) == pytest.approx((55.0, 20.0))
    assert (value["width"], value["height"], value["rotation"]) == (20.0, 20.0, 90.0)
    export(tmp_path / "novel", tmp_path / "coco", "coco", model=None, most=None, prefix="")
    (found,) = coco_of(tmp_path / "coco").dataset["annotations"]
    assert found["bbox"] == pytest.approx([45, 10, 10, 20])
    assert len(found["segmentation"][0]) == 8


def test_keypoints_keep_their_names_and_only_seen_ones_are_labelled(exported, tmp_path):
    points = [
        {"name": "nose", "x": 25.0, "y": 18.0, "confidence": 0.5},
        {"name": "tail", "x": 35.0, "y": 22.0, "confidence": 0.49},
    ]
    one = record(1, task="pose", skeleton=[(0, 1)], predictions=[box(keypoints=points)])
    coco = coco_of(exported("coco", one))
    (found,) = coco.dataset["annotations"]
    assert (found["keypoints"], found["num_keypoints"]) == ([25.0, 18.0, 2, 0, 0, 0], 1)
    category = coco.loadCats(1)[0]
    assert (category["keypoints"], category["skeleton"]) == (["nose", "tail"], [[1, 2]])
    export(tmp_path / "novel", tmp_path / "studio", "label-studio", model=None, most=None, prefix="")
    _, nose, _ = regions_of(tmp_path / "studio")
    assert (nose["from_name"], nose["value"]["keypointlabels"], nose["parentID"]) == ("point", ["nose"], "r0")
    assert (nose["value"]["x"], nose["value"]["y"]) == (25.0, 36.0)


def test_label_studio_gets_boxes_in_per_cent_and_a_labelling_interface_that_knows_them(exported):
    out = exported("label-studio", record(1, 1.5, predictions=BOXES))
    (task,) = tasks_of(out)
    assert task["data"] == {
        "image": f"/d?={1:016x}.jpg", "novelty": 1.5, "rank": 0.5, "why": "rare-path",
    }  # fmt: skip
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("tiny version 1", 0.9)
    value = prediction["result"][0]["value"]
    assert (value["x"], value["y"], value["width"], value["height"]) == (20.0, 30.0, 20.0, 20.0)
    interface = ET.parse(out / "label_config.xml").getroot()
    assert [one.get("value") for one in interface.iter("Label")] == ["red", "green"]
    (tag,) = interface.findall("RectangleLabels")
    for region in prediction["result"]:
        assert (region["from_name"], region["to_name"]) == (tag.get("name"), tag.get("toName"))
        assert (region["original_width"], region["original_height"]) == (100, 50)


def test_a_class_name_with_special_characters_stays_readable(exported):
    out = exported("label-studio", record(1, class_names=['a<b & "c"']))
    label = next(ET.parse(out / "label_config.xml").getroot().iter("Label"))
    assert label.get("value") == 'a<b & "c"'


def test_the_best_class_of_a_classifier_is_the_proposal_and_coco_is_refused(exported, tmp_path):
    classes = [{"class": "red", "class_id": 0, "confidence": 0.7}, {"class": "green", "class_id": 1}]
    classes[1]["confidence"] = 0.3
    out = exported("label-studio", record(1, task="classify", predictions=classes))
    (region,) = regions_of(out)
    assert (region["type"], region["value"]) == ("choices", {"choices": ["red"]})
    with pytest.raises(ExportRefused, match="use label-studio"):
        export(tmp_path / "novel", tmp_path / "coco", "coco", model=None, most=None, prefix="")


def test_only_the_most_novel_images_are_exported_if_so_asked(exported):
    out = exported("coco", record(1, 1.0), record(2, 3.0), record(3, 2.0), most=2)
    assert sorted(path.name for path in (out / "images" / "default").iterdir()) == [
        f"{2:016x}.jpg", f"{3:016x}.jpg",
    ]  # fmt: skip


def test_images_of_several_models_are_not_mixed(exported, tmp_path):
    records = record(1), record(2, model="other", class_names=["cat"])
    with pytest.raises(ExportRefused, match="images of other, tiny; choose one with --model"):
        exported("coco", *records)
    coco = coco_of(exported("coco", model="other"))
    assert [one["name"] for one in coco.dataset["categories"]] == ["cat"]
    with pytest.raises(ExportRefused, match="no images of model 'mine'; there are other, tiny"):
        export(tmp_path / "novel", tmp_path / "new", "coco", model="mine", most=None, prefix="")


def test_classes_of_several_versions_of_a_model_are_matched_by_name(exported):
    newer = record(2, 2.0, version="2", class_names=["green", "blue"], predictions=[box(name="green")])
    coco = coco_of(exported("coco", record(1, 1.0, predictions=[box()]), newer))
    found = {one["image_id"]: coco.loadCats(one["category_id"])[0]["name"] for one in coco.anns.values()}
    assert found == {1: "green", 2: "red"}


def test_an_export_refuses_what_it_cannot_do(folder, tmp_path):
    chosen = {"model": None, "most": None, "prefix": ""}
    with pytest.raises(ExportRefused, match="SPARSIGHT_NOVEL__FOLDER"):
        export(tmp_path / "none", tmp_path / "out", "coco", **chosen)
    kept = folder()
    with pytest.raises(ExportRefused, match="has no images"):
        export(tmp_path / "novel", tmp_path / "out", "coco", **chosen)
    keep(kept, record(1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ExportRefused, match="not empty; give a new folder"):
        export(tmp_path / "novel", tmp_path / "full", "coco", **chosen)


def test_the_command_lists_and_exports_without_a_running_service(folder, tmp_path, capfd):
    keep(folder(), record(1, 1.0), record(2, 2.0, confidence=0.25))
    source = ["--folder", str(tmp_path / "novel")]
    assert main(["novel", "list", *source]) == 0
    _, first, second = capfd.readouterr().out.splitlines()
    assert first.split()[:4] == [f"{2:016x}", "2.000", "0.500", "0.250"]
    assert second.split()[3] == "-"
    out = ["--output", str(tmp_path / "out"), "--format", "coco"]
    assert main(["novel", "export", *source, *out]) == 0
    assert "exported 2 images" in capfd.readouterr().err
    assert main(["novel", "export", *source, *out]) == 2
    assert "not empty" in capfd.readouterr().err
    assert main(["novel", "list", "--folder", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capfd.readouterr().err


@pytest.mark.parametrize("images", ["0", "-1", "x"])
def test_a_number_of_images_must_be_positive(images, capsys):
    parser = ArgumentParser()
    add_novel_commands(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(
            ["novel", "export", "--folder", "f", "--format", "coco", "--output", "o", "--images", images]
        )
    assert "is no number of images" in capsys.readouterr().err
