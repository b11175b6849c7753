"""Answers in other formats, checked with the libraries that read these formats."""

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from tests.builders import build_classifier, golden_image, image_bytes

RED = image_bytes(golden_image())
GREEN = image_bytes(np.full((64, 64, 3), (30, 200, 30), np.uint8))


def as_ground_truth(answer):
    """Return a data set whose annotations are the results of an answer."""
    annotations = [
        {**one, "id": i, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
        for i, one in enumerate(answer["results"], 1)
    ]
    dataset = COCO()
    dataset.dataset = {
        "images": answer["images"],
        "categories": answer["categories"],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset


def test_an_image_is_answered_in_the_words_of_coco(served):
    answer = served.detect(RED, format="coco")
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    score = told["results"][0].pop("score")
    assert score == served.detect(RED).json()["predictions"][0]["confidence"]
    assert told == {
        "images": [{"id": 1, "width": 64, "height": 64}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(("red", "green", "blue"))],
        "results": [{"image_id": 1, "category_id": 0, "bbox": [4, 4, 32, 32]}],
    }


def test_coco_reads_the_results_of_several_images_and_finds_them_all(served):
    files = [("image", ("1", RED)), ("image", ("2", GREEN))]
    told = served.client.post("/detect", params={"format": "coco"}, files=files).json()
    truth = as_ground_truth(told)
    loaded = truth.loadRes(told["results"])
    assert sorted((one["image_id"], one["category_id"]) for one in loaded.anns.values()) == [(1, 0), (2, 1)]
    measured = COCOeval_faster(truth, loaded, "bbox", print_function=lambda *_: None)
    measured.evaluate()
    measured.accumulate()
    measured.summarize()
    assert measured.stats[0] == pytest.approx(1), "every box is where it says it is"


def test_an_image_that_cannot_be_answered_keeps_its_place(served):
    files = [("image", ("1", b"no image")), ("image", ("2", RED))]
    told = served.client.post("/detect", params={"format": "coco"}, files=files).json()
    assert [one["id"] for one in told["images"]] == [2]
    assert [one["image_id"] for one in told["results"]] == [2]
    assert told["problems"]["1"]["type"] == "urn:sparsight:problem:unsupported-image"


def test_nothing_found_is_an_empty_list(served):
    told = served.detect(RED, format="coco", conf=1).json()
    assert told["results"] == []
    assert told["images"]


def test_a_model_without_boxes_is_refused(start, tmp_path):
    build_classifier(tmp_path)
    answer = start(repository=tmp_path).detect(RED, format="coco")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "format"
    assert "format=coco needs boxes" in answer.json()["detail"]


def test_json_is_the_format_of_a_request_that_names_none(served):
    assert set(served.detect(RED, format="json").json()) == set(served.detect(RED).json())


def test_an_unknown_format_is_refused_with_those_that_there_are(served):
    answer = served.detect(RED, format="voc")
    assert answer.status_code == 422
    assert "one of json, coco" in answer.json()["detail"]
