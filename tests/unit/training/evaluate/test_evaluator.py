"""Evaluation covers every image once, for every batch size."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from tests.training_builders import tiny_model
from tests.unit.training.evaluate.objects.random_objects import KINDS
from training.data.masks import Mask, RunLengths
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.errors import DatasetError
from training.evaluate.detections import Detections
from training.evaluate.evaluator import check_classes, evaluate, evaluate_with
from training.evaluate.objects.keypoints import Keypoints
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config
from training.tasks.choose import task_named


class TwoClassScenes:
    """Generated scenes under the two classes of the tiny model."""

    class_names = ("disc", "ring")
    remarks = MappingProxyType({})
    skeleton = None

    def __init__(self, images):
        self._scenes = open_dataset(ScenesConfig(images=images, image_hw=(64, 96)))

    def __len__(self):
        return len(self._scenes)

    def load(self, index, fit=None):
        sample = self._scenes.load(index)
        return replace(sample, class_ids=sample.class_ids % 2)

    def encoded(self, index):
        return self._scenes.encoded(index)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def scenes():
    return TwoClassScenes(5)


def test_the_result_does_not_depend_on_the_size_of_batches(model, scenes):
    one, two = (evaluate(model, scenes, batch_size=size) for size in (1, 2))
    assert one.images == two.images == 5
    assert two.mean_ap.map50 == pytest.approx(one.mean_ap.map50, abs=1e-4)
    assert [use.layer for use in two.experts] == list(model.mixture_layers())
    for alone, batched in zip(one.experts, two.experts, strict=True):
        assert batched.expert_share == alone.expert_share
        assert batched.information_bits == pytest.approx(alone.information_bits, abs=1e-4)


@pytest.mark.parametrize("top_k", [1, 4])
def test_controls_say_how_many_experts_run(model, scenes, top_k):
    result = evaluate(model, scenes, controls=RoutingControls(top_k))
    for use in result.experts:
        assert sum(use.expert_share) == pytest.approx(top_k)


def test_a_model_without_a_mixture_has_no_expert_use(scenes):
    assert evaluate(tiny_model("yolov12-n"), scenes).experts == []


def test_evaluation_leaves_the_weights_and_statistics_as_they_are(model, scenes):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, scenes)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_whoever_answers_with_the_truth_scores_one(scenes):
    samples = iter([scenes.load(index) for index in range(len(scenes))])

    def detect(encoded):
        assert encoded.startswith(b"\x89PNG")
        sample = next(samples)
        return Detections(sample.boxes_xyxy, np.ones(len(sample.class_ids), np.float32), sample.class_ids)

    result = evaluate_with(detect, scenes)
    assert result.images == 5
    assert result.mean_ap.map50_95 == pytest.approx(1)
    assert result.curves.f1[:, result.curves.best] == pytest.approx(1)


LABELS = {"segment": "masks", "pose": "keypoints", "obb": "corners"}


@pytest.mark.parametrize(("task", "labels"), LABELS.items())
def test_whoever_answers_with_the_true_shapes_scores_one(task, labels):
    scenes = open_dataset(ScenesConfig(images=4, image_hw=(96, 128), labels=labels))
    samples = [scenes.load(index) for index in range(len(scenes))]
    kind = Keypoints((0.05,) * samples[0].keypoints.shape[1]) if task == "pose" else KINDS[labels]

    def answers(shift):
        given = iter(samples)

        def detect(_):
            sample = next(given)
            masks = None
            if sample.masks is not None:
                moved = [Mask(mask.left + shift, mask.top, mask.bitmap) for mask in sample.masks]
                masks = tuple(RunLengths.of(mask, (96, 128)) for mask in moved)
            return Detections(
                sample.boxes_xyxy,
                np.ones(len(sample.class_ids), np.float32),
                sample.class_ids,
                masks,
                None if sample.keypoints is None else sample.keypoints + np.float32([shift, 0, 0]),
                None if sample.corners is None else sample.corners + np.float32([shift, 0]),
            )

        return detect

    exact, shifted = (evaluate_with(answers(shift), scenes, task, kind) for shift in (0, 4))
    assert (exact.task, exact.kind) == (task, kind)
    assert exact.mean_ap.map50_95 == pytest.approx(1)
    assert exact.curves.f1[:, exact.curves.best] == pytest.approx(1)
    assert shifted.mean_ap.map50_95 < 0.9
    if task == "obb":
        assert exact.box_ap is None
    else:  # the boxes were not moved
        assert shifted.box_ap.map50_95 == pytest.approx(1)


@pytest.mark.parametrize(("task", "labels"), LABELS.items())
def test_shapes_do_not_depend_on_the_size_of_batches(task, labels):
    scenes = open_dataset(ScenesConfig(images=3, image_hw=(48, 64), labels=labels))
    variant = {"segment": "yolov12-n-seg"}.get(task, f"yolov12-n-{task}")
    config = model_config(variant, scenes.class_names, (64, 64), skeleton=scenes.skeleton)
    torch.manual_seed(0)
    network = task_named(task).build(config).eval()
    one, two = (evaluate(network, scenes, batch_size=size) for size in (1, 2))
    assert one.task == task
    for alone, batched in zip(one.detections, two.detections, strict=True):
        assert len(alone.scores) > 2
        assert np.array_equal(np.sort(alone.class_ids), np.sort(batched.class_ids))
        # Untrained scores are so alike that rounding errors may change the order.
        shapes = [getattr(each, labels) for each in (alone, batched)]
        if task == "segment":
            sets = [sorted(mask.bitmap().sum() for mask in each) for each in shapes]
            assert {mask.image_hw for mask in shapes[0]} == {(48, 64)}
            np.testing.assert_allclose(*sets, atol=3)
        else:
            means = [each.reshape(len(each), -1).mean(axis=0) for each in shapes]
            np.testing.assert_allclose(*means, atol=0.02)


@pytest.mark.parametrize("names", [("a",), ("b", "a"), ("a", "b", "c"), ()])
def test_other_classes_or_another_order_are_refused(names):
    with pytest.raises(DatasetError, match="with the same classes in the same order"):
        check_classes(("a", "b"), names)
