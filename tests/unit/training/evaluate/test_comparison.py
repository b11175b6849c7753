"""Two detectors are compared by the metric of their task."""

import json

import numpy as np
import pytest

from tests.unit.training.evaluate.objects.random_objects import KINDS, random_images
from tests.unit.training.evaluate.test_bootstrap import NAMES
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.evaluate import comparison
from training.evaluate.comparison import compare
from training.evaluate.evaluator import evaluation_of
from training.evaluate.routed import RoutedImages
from training.lab.tables.comparison import comparison_json, comparison_report
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config
from training.skeleton import Skeleton
from training.tasks.choose import task_named

KINDS_OF_TASKS = {"segment": "masks", "pose": "keypoints", "obb": "corners"}
SUFFIXES = {"segment": "seg", "pose": "pose", "obb": "obb"}


def network(task):
    skeleton = Skeleton.unnamed(5) if task == "pose" else None
    config = model_config(f"yolov12-n-{SUFFIXES[task]}", NAMES, (64, 64), skeleton=skeleton)
    return task_named(task).build(config), RoutingControls(1)


@pytest.mark.parametrize("task", list(KINDS_OF_TASKS))
def test_the_difference_is_that_of_the_task_s_own_metric(monkeypatch, task):
    name = KINDS_OF_TASKS[task]
    truths, exact = random_images(name, images=16)
    # The other detector finds only the likelier half of all.
    worse = [each.where(each.scores > 0.5) for each in exact]
    gates = {"none": np.ones((16, 1), np.float32)}
    results = iter(
        evaluation_of(RoutedImages(tuple(truths), gates, {}), found, NAMES, task, KINDS[name])
        for found in (exact, worse)
    )
    monkeypatch.setattr(comparison, "evaluate", lambda *_, **__: next(results))
    monkeypatch.setattr(comparison, "used_gflops", lambda *_: np.array([1.5, 2.5]))
    found = compare(network(task), network(task), open_dataset(ScenesConfig(images=2)), draws=30)
    assert found.first.mean_ap.map50_95 > found.second.mean_ap.map50_95
    difference = found.first.mean_ap.map50_95 - found.second.mean_ap.map50_95
    assert found.difference.difference == pytest.approx(difference, abs=1e-12)
    assert found.difference.low <= difference <= found.difference.high
    score = KINDS[name].score
    lines = comparison_report(found).splitlines()
    assert lines[1].split() == [*f"{score}50-95 {score}50".split(), "GFLOPs", "used"]
    assert any(line.startswith(f"{score}50-95 differs by +{100 * difference:.2f}; ") for line in lines)
    assert json.loads(comparison_json(found))["metric"] == score


def test_detectors_of_different_tasks_are_not_compared():
    with pytest.raises(ConfigError, match="models for segment and obb cannot be compared"):
        compare(network("segment"), network("obb"), open_dataset(ScenesConfig(images=2)))
