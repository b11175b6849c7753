"""Masks of a COCO file are read and scored as the COCO API does with the file itself."""

import contextlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.data.evaluation import Truth
from training.data.masks import RunLengths
from training.data.open import open_dataset
from training.data_config import FolderConfig
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.objects.masks import MASKS

pytestmark = [
    pytest.mark.skipif(
        "SPARSIGHT_DATA" not in os.environ, reason="SPARSIGHT_DATA does not say where test data is"
    ),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of pycocotools
]
FIGURES = (
    *("map50_95", "map50", "map75", "map50_95_small", "map50_95_medium", "map50_95_large"),
    *("ar1", "ar10", "ar100", "ar100_small", "ar100_medium", "ar100_large"),
)


def test_polygons_crowds_and_stated_areas_give_the_mask_ap_of_the_api():
    root = Path(os.environ["SPARSIGHT_DATA"]) / "coco_train2017_sample"
    dataset = open_dataset(FolderConfig(root=str(root), split="train2017", labels="masks"))
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(str(root / "annotations" / "instances_train2017.json"))
        answers = answers_near(api, np.random.default_rng(0))
        theirs = COCOeval(api, api.loadRes(answers), "segm")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    truths = [Truth.of(dataset.load(index)) for index in range(len(dataset))]
    of_image = [[each for each in answers if each["image_id"] == int(truth.name)] for truth in truths]
    category_ids = sorted(api.getCatIds())
    found = [detections_of(each, category_ids) for each in of_image]
    assert sum(len(truth.ignored_masks) for truth in truths) == 9
    ours = mean_average_precision(truths, found, dataset.class_names, MASKS)
    assert 0.3 < ours.map50_95 < 0.9
    np.testing.assert_allclose([getattr(ours, each) for each in FIGURES], theirs.stats, atol=1e-6, rtol=0)


def answers_near(api, rng):
    """Each mask a little off, and of a crowd its upper and its lower half, and a box beside it."""
    answers = []
    for annotation in api.dataset["annotations"]:
        whole = api.annToMask(annotation)
        height = whole.shape[0]
        shift = rng.normal(0, 0.06, 2) * np.sqrt(whole.sum())
        masks = [np.roll(whole, shift.round().astype(int), axis=(0, 1))]
        if annotation["iscrowd"]:
            upper = np.arange(height)[:, None] < height / 2
            x, y, w, h = (int(side) for side in annotation["bbox"])
            box = np.zeros_like(whole)
            box[y : y + h, x : x + w] = 1
            masks = [whole & upper, whole & ~upper, box]
        answers += [
            {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "segmentation": coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)),
                "score": float(np.float32(rng.random())),
            }
            for mask in masks
            if mask.any()
        ]
    return answers


def detections_of(entries, category_ids):
    entries = sorted(entries, key=lambda each: -each["score"])
    runs = [each["segmentation"] for each in entries]
    xywh = np.array([coco_mask.toBbox(each) for each in runs]).reshape(-1, 4)
    return Detections(
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32),
        np.array([each["score"] for each in entries], np.float32),
        np.array([category_ids.index(each["category_id"]) for each in entries], np.int64),
        tuple(RunLengths(tuple(each["size"]), each["counts"]) for each in runs),
    )
