"""A classifier is served like a detector: the same route, its own predictions and parameters."""

import numpy as np
import pytest

from tests.builders import build_artifact, build_classifier, golden_image, image_bytes

RED = image_bytes(golden_image())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return a repository with a classifier and a detector."""
    repository = tmp_path_factory.mktemp("both")
    build_classifier(repository)
    build_artifact(repository)
    return repository


@pytest.fixture
def running(start, both):
    return start(repository=both)


def test_the_best_classes_are_told_and_what_the_experts_did(running):
    answer = running.detect(RED, model="colours").json()
    assert [set(one) for one in answer["predictions"]] == [{"class", "class_id", "confidence"}] * 2
    assert [one["class"] for one in answer["predictions"]] == ["red", "green"]
    likely = np.exp(np.array([147.5, 82.5, 37.5]) / 32)
    told = [one["confidence"] for one in answer["predictions"]]
    assert told == pytest.approx((likely / likely.sum())[:2], abs=1e-5)
    assert [layer["active"] for layer in answer["moe"]["layers"]] == [[0, 3], [1, 2]]
    assert answer["moe"]["top_k"] == 2


def test_of_a_classification_the_metrics_count_experts_and_no_detections(start, both):
    running = start(repository=both)  # one of its own: nobody else has asked it
    assert running.detect(RED, model="colours").status_code == 200
    metrics = running.metrics()
    assert metrics['sparsight_detections_total{model="colours",version="1"}'] == 0
    labels = 'expert="0",layer="backbone.p4",model="colours",version="1"'
    assert metrics[f"sparsight_expert_activations_total{{{labels}}}"] == 1
    assert metrics['sparsight_stage_duration_seconds_count{backend="openvino",stage="infer"}'] == 1


def test_without_experts_there_is_nothing_to_tell_about_them(start, tmp_path):
    running = start(repository=build_classifier(tmp_path, experts=False).repository)
    answer = running.detect(RED).json()
    assert [one["class"] for one in answer["predictions"]] == ["red", "green"]
    nothing = {"layers": [], "top_k": None, "gflops": {"used": 4.0, "dense": 4.0}}
    assert answer["moe"] == nothing | {"degraded": False, "routing": "normal"}
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["infer"] > 0
    refused = running.detect(RED, top_k=1)
    assert refused.status_code == 422
    assert refused.json()["detail"] == "model 'colours' has no top_k; leave it out"


def test_several_files_are_classified_in_the_order_sent(running):
    blue = image_bytes(np.full((64, 64, 3), (0, 0, 255), np.uint8))
    files = [("image", ("a", RED)), ("image", ("b", b"no image")), ("image", ("c", blue))]
    answer = running.client.post("/detect", params={"model": "colours", "top": 1}, files=files)
    first, second, third = answer.json()["results"]
    assert [one["predictions"][0]["class"] for one in (first, third)] == ["red", "blue"]
    assert second["status"] == 415


@pytest.mark.parametrize(("top", "count"), [(1, 1), (3, 3), (10_000, 3)])
def test_as_many_classes_as_asked_for(running, top, count):
    assert len(running.detect(RED, model="colours", top=top).json()["predictions"]) == count


def test_only_the_middle_of_an_image_is_looked_at(running):
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 64:128] = (0, 0, 255)
    pixels[:, :64] = pixels[:, 128:] = (255, 0, 0)
    (best,) = running.detect(image_bytes(pixels), model="colours", top=1).json()["predictions"]
    assert best["class"] == "blue"
    assert best["confidence"] == pytest.approx(1 / (1 + 2 * np.exp(-255 / 32)), abs=1e-5)


@pytest.mark.parametrize(("name", "value"), [("conf", 0.5), ("iou", 0.5), ("max_det", 5)])
def test_a_classifier_refuses_what_means_nothing_to_it(running, name, value):
    answer = running.detect(RED, model="colours", **{name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        f"{name} is not a parameter of model 'colours', whose task is classify; leave it out, or use: top"
    )
    assert answer.json()["errors"][0]["parameter"] == name


def test_a_detector_refuses_top(running):
    answer = running.detect(RED, model="tiny", top=3)
    assert answer.status_code == 422
    assert "top is not a parameter of model 'tiny', whose task is detect" in answer.json()["detail"]


def test_top_is_a_whole_number_from_1(running):
    assert "a whole number from 1" in running.detect(RED, model="colours", top=0).json()["detail"]


def test_models_tell_their_task_their_controls_and_how_they_are_drawn(running):
    described = {one["name"]: one for one in running.client.get("/models").json()["models"]}
    assert (described["colours"]["task"], described["colours"]["drawn_as"]) == ("classify", "labels")
    assert (described["tiny"]["task"], described["tiny"]["drawn_as"]) == ("detect", "boxes")
    assert described["colours"]["defaults"] == {"top": 2, "top_k": 2, "weight_threshold": 0.0}
    assert described["tiny"]["controls"] == [
        {"name": "top_k", "default": 2, "allowed": [1, 2, 3, 4], "range": None},
        {"name": "weight_threshold", "default": 0.0, "allowed": None, "range": [0.0, 1.0]},
    ]
