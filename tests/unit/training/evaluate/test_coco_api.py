"""Readers and evaluator give the figures of the COCO API on a hundred images of two data sets.

The expected values have six decimals and were computed with COCO's own implementation. They are from
tests/test_coco_eval.py of rafaelpadilla/review_object_detection_metrics (MIT).
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from tests.unit.training.data.small_data import write_image
from training.data.evaluation import Truth
from training.data.open import open_dataset
from training.data_config import FolderConfig
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import mean_average_precision

pytestmark = pytest.mark.skipif(
    "SPARSIGHT_DATA" not in os.environ, reason="SPARSIGHT_DATA does not say where test data is"
)
COCO_API = {
    "map50_95": 0.503647,
    "map50": 0.696973,
    "map75": 0.571667,
    "map50_95_small": 0.593252,
    "map50_95_medium": 0.557991,
    "map50_95_large": 0.489363,
    "ar1": 0.386813,
    "ar10": 0.593680,
    "ar100": 0.595353,
    "ar100_small": 0.654764,
    "ar100_medium": 0.603130,
    "ar100_large": 0.553744,
}


@pytest.fixture(scope="module")
def voc100():
    return Path(os.environ["SPARSIGHT_DATA"]) / "voc2012_100_multiformat"


def test_every_value_of_the_coco_api_is_reproduced_from_files_to_report(voc100, tmp_path):
    folder = voc100 / "tests" / "test_coco_eval"
    gts = folder / "gts" / "sampled_gts_bbox_area.json"
    labels = json.loads(gts.read_text(encoding="utf-8"))
    (tmp_path / "annotations").mkdir()
    shutil.copy(gts, tmp_path / "annotations" / "instances_val2014.json")
    for image in labels["images"]:  # the set comes without its images: grey ones of their sizes stand in
        write_image(tmp_path / "val2014" / image["file_name"], (image["height"], image["width"]))
    dataset = open_dataset(FolderConfig(root=str(tmp_path), split="val"))
    truths = [Truth.of(dataset.load(index)) for index in range(len(dataset))]

    answers = json.loads((folder / "cocoapi_results.json").read_text(encoding="utf-8"))
    stems = {Path(image["file_name"]).stem: image["id"] for image in labels["images"]}
    of_image = [[each for each in answers if each["image_id"] == stems[truth.name]] for truth in truths]
    category_ids = sorted(category["id"] for category in labels["categories"])
    found = [detections_of(each, category_ids) for each in of_image]
    result = mean_average_precision(truths, found, dataset.class_names)
    assert (len(truths), sum(len(truth.class_ids) for truth in truths), len(answers)) == (100, 830, 734)
    assert {name: round(getattr(result, name), 6) for name in COCO_API} == COCO_API


def test_crowds_sparse_ids_and_stated_areas_come_out_as_the_api_has_them_of_the_file_itself():
    root = Path(os.environ["SPARSIGHT_DATA"]) / "coco_train2017_sample"
    dataset = open_dataset(FolderConfig(root=str(root), split="train2017"))
    api = COCO(str(root / "annotations" / "instances_train2017.json"))
    rng = np.random.default_rng(0)
    answers = []
    for annotation in api.dataset["annotations"]:  # each box a little off, and of a crowd its two halves
        x, y, w, h = annotation["bbox"]
        halves = [[x, y, w / 2, h], [x + w / 2, y, w / 2, h]]
        for box in halves if annotation["iscrowd"] else [[x + w * rng.normal(0, 0.1), y, w, h]]:
            answers.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": np.round(box, 2).tolist(),
                    "score": float(np.float32(rng.random())),
                }
            )
    theirs = COCOeval_faster(api, api.loadRes(answers), "bbox", print_function=lambda *_: None)
    theirs.run()

    truths = [Truth.of(dataset.load(index)) for index in range(len(dataset))]
    of_image = [[each for each in answers if each["image_id"] == int(truth.name)] for truth in truths]
    found = [detections_of(each, sorted(api.getCatIds())) for each in of_image]
    ours = mean_average_precision(truths, found, dataset.class_names)
    assert sum(len(truth.ignored_xyxy) for truth in truths) == 9
    assert 0.3 < ours.map50_95 < 0.9
    np.testing.assert_allclose([getattr(ours, name) for name in COCO_API], theirs.stats[:12], atol=1e-6)

    blind = [replace(truth, ignored_xyxy=truth.ignored_xyxy[:0], ignored_class_ids=None) for truth in truths]
    assert mean_average_precision(blind, found, dataset.class_names).map50 < ours.map50


def detections_of(entries, category_ids):
    xywh = np.array([each["bbox"] for each in entries]).reshape(-1, 4)
    return Detections(
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32),
        np.array([each["score"] for each in entries], np.float32),
        np.array([category_ids.index(each["category_id"]) for each in entries], np.int64),
    )


@pytest.fixture(scope="module")
def as_voc(voc100, tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "Annotations").symlink_to(voc100 / "gts" / "pascalvoc_format")
    (root / "JPEGImages").symlink_to(voc100 / "images")
    stems = sorted(path.stem for path in (voc100 / "images").iterdir())
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(stems))
    return labels_by_picture(root)


@pytest.fixture(scope="module")
def as_yolo(voc100, tmp_path_factory):
    root = tmp_path_factory.mktemp("yolo")
    names = (voc100 / "gts" / "yolo_format" / "obj.names").read_text().split()
    (root / "data.yaml").write_text(json.dumps({"names": names}))
    (root / "train").mkdir()
    (root / "train" / "labels").symlink_to(voc100 / "gts" / "yolo_format" / "obj_train_data")
    (root / "train" / "images").symlink_to(voc100 / "images")
    return labels_by_picture(root)


@pytest.fixture(scope="module", params=["coco_format_v1/instances_default", "coco_format_v2/instances_v2"])
def as_coco(request, voc100, tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    shutil.copy(voc100 / "gts" / f"{request.param}.json", root / "annotations" / "instances_train.json")
    (root / "images").symlink_to(voc100 / "images")
    return labels_by_picture(root)


def labels_by_picture(root):
    """(class name, x1, y1, x2, y2) of each image, sorted; those to ignore are among them."""
    dataset = open_dataset(FolderConfig(root=str(root)))
    labels = {}
    for index in range(len(dataset)):
        sample = dataset.load(index)
        boxes = np.concatenate([sample.boxes_xyxy, sample.ignored_xyxy]).tolist()
        ids = np.concatenate([sample.class_ids, sample.ignored_class_ids])
        rows = zip((dataset.class_names[each] for each in ids), boxes, strict=True)
        labels[sample.name] = sorted((name, *map(round, box), *box) for name, box in rows)
    return labels


def test_voc_and_coco_give_the_same_boxes_to_the_bit(as_voc, as_coco):
    assert sum(map(len, as_voc.values())) == 273
    assert as_coco == as_voc


def test_voc_and_yolo_give_the_same_boxes_to_the_rounding_of_yolo(as_voc, as_yolo):
    # Six decimals of a fraction: centre and half a size are each off by 0.5e-6 and 0.25e-6 of at most 500 px.
    tolerance = 0.75e-6 * 500 + 1e-4  # and float32, which holds 500 px to 3e-5
    assert as_yolo.keys() == as_voc.keys()
    for name, rows in as_voc.items():
        found = as_yolo[name]
        assert [row[:5] for row in found] == [row[:5] for row in rows]
        np.testing.assert_allclose(
            [row[5:] for row in as_yolo[name]], [row[5:] for row in rows], atol=tolerance
        )
