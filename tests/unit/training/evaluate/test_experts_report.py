"""The report on what experts serve, for planted choices that a reader can count."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from training.data.evaluation import Truth
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES, REGIMES
from training.data_config import ScenesConfig
from training.evaluate.experts_report import experts_report
from training.evaluate.routed import RoutedImages, RoutedPaths
from training.models.mixture.routing import RoutingControls

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[4] / "model_repository" / "experts.schema.json").read_text()
)
SCENES = open_dataset(ScenesConfig(images=6, image_hw=(64, 64)))  # the kinds of scene take turns
ONE_EXPERT = RoutingControls(1, 0.0)


def truth(*class_ids, image_class=None):
    boxes = np.zeros((len(class_ids), 4), np.float32)
    return Truth(boxes, np.array(class_ids, np.int64), (64, 64), "", image_class=image_class)


def routed(chosen, truths):
    """Return six images, each of which chose one of three experts."""
    gates = np.eye(3, dtype=np.float32)[list(chosen)]
    return RoutedImages(tuple(truths), {"p4": gates}, {"p4": gates})


def reported(chosen, truths):
    report = experts_report(routed(chosen, truths), SCENES, "planted", ONE_EXPERT)
    jsonschema.validate(report, SCHEMA)
    return report, {each["name"]: each["groups"] for each in report["groupings"]}


def test_shares_are_counted_by_origin_density_and_class():
    objects = [(0,), (0, 1), (1, 1), (0,), (0, 1), (1, 1)]  # 1, 2, 2, 1, 2 and 2 objects
    report, groups = reported([0, 0, 1, 0, 1, 1], [truth(*each) for each in objects])
    (layer,) = report["layers"]
    assert layer["expert_share"] == [0.5, 0.5, 0]
    assert groups["origin"] == [{"label": regime, "images": 2} for regime in REGIMES]
    assert layer["shares"]["origin"] == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    assert groups["density"] == [{"label": "1 box", "images": 2}, {"label": "2 boxes", "images": 4}]
    assert layer["shares"]["density"] == [[1, 0, 0], [0.25, 0.75, 0]]
    # An image with objects of two classes counts for both; two objects of one class count once.
    assert groups["class"] == [{"label": name, "images": 4} for name in CLASS_NAMES[:2]]
    assert layer["shares"]["class"] == [[0.75, 0.25, 0], [0.25, 0.75, 0]]


def test_the_class_of_a_whole_image_counts_like_an_object():
    report, groups = reported([0, 0, 0, 1, 1, 2], [truth(image_class=i // 3) for i in range(6)])
    assert groups["class"] == [{"label": name, "images": 3} for name in CLASS_NAMES[:2]]
    assert report["layers"][0]["shares"]["class"] == [[1, 0, 0], [0, 0.6667, 0.3333]]


def test_a_grouping_with_a_single_group_is_left_out():
    _, groups = reported([0] * 6, [truth(1) for _ in range(6)])
    assert set(groups) == {"origin"}


def test_the_data_and_the_controls_are_named():
    report, _ = reported([0] * 6, [truth(1) for _ in range(6)])
    assert (report["data"], report["images"]) == ("planted", 6)
    assert report["controls"] == {"top_k": 1, "weight_threshold": 0.0}


def test_a_network_with_paths_has_their_shares_too():
    images = routed([0] * 6, [truth(1) for _ in range(6)])
    paths = RoutedPaths(np.eye(4, dtype=np.float32)[[0, 1, 3, 0, 1, 1]], {"p4": np.eye(4, dtype=np.float32)})
    report = experts_report(replace(images, paths=paths), SCENES, "planted", ONE_EXPERT)
    jsonschema.validate(report, SCHEMA)
    assert report["paths"]["path_share"] == [0.3333, 0.5, 0, 0.1667]
    assert report["paths"]["shares"] == {"origin": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0.5, 0, 0.5]]}
    assert "paths" not in experts_report(images, SCENES, "planted", ONE_EXPERT)


@pytest.mark.parametrize("controls", [RoutingControls(0, 0.0), ONE_EXPERT])
def test_without_a_choice_of_experts_there_is_no_report(controls):
    images = routed([0] * 6, [truth(1) for _ in range(6)])
    if controls.top_k:
        images = RoutedImages(images.truths, {}, {})
    assert experts_report(images, SCENES, "planted", controls) is None
