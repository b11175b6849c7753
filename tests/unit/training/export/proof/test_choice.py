"""The defaults of a graph's controls are chosen on training images, and the artifact states and uses them."""

import copy
import json
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch

from service.artifact.repository import read_artifact
from tests.training_builders import (
    conditioned,
    diverse_images,
    plain_config,
    plain_model,
    reference_outputs,
    shaped_model,
    taught_classifier,
    tiny_model,
)
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, tinted_scenes
from tests.unit.training.messages import collecting
from training.data.sample import Sample
from training.data.scenes.objects import RAY_SKELETON
from training.data.scenes.scenes import CLASS_NAMES as SCENE_CLASSES
from training.data.scenes.scenes import ClassScenesDataset, ScenesDataset
from training.data_config import FolderConfig, ScenesConfig
from training.errors import ConfigError
from training.evaluate.baseline import Baseline, nmi_by_layer
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import evaluate
from training.export.artifact.bundle import Measured, export_model
from training.export.contract.precision import TOLERANCES, Tolerance
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import Eager, graph_contract
from training.export.proof import choice
from training.export.proof.choice import LEAST_IMAGES, ChoiceImages, choose_defaults
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.export.tasks.objects import kept
from training.models.cost import measure_cost
from training.models.mixture.routing import RoutingControls
from training.models.pose_estimator import PoseEstimator
from training.tasks.choose import task_named
from training.trainer.checkpoint import save_model
from training.workflows import export as workflow
from training.workflows.export import choice_images

SPEC = GraphSpec("dense", "graph")
EXPERTS = 4


class OwnFindings:
    """Images whose labels are what a model finds first in them, at its own defaults."""

    class_names = ("disc", "ring")
    remarks = MappingProxyType({})
    skeleton = None

    def __init__(self, model, count=LEAST_IMAGES):
        self.samples = [self._sample(model, image) for image in diverse_images(count).numpy()]

    def __len__(self):
        return len(self.samples)

    def load(self, index, fit=None):
        return self.samples[index]

    @staticmethod
    def _sample(model, image):
        outputs = reference_outputs(model, SPEC, image, model.default_controls())
        by_role = graph_contract(model.config, SPEC).by_role(outputs)
        found = kept(by_role, (64, 64), (64, 64), DetectConfig(max_det=3))
        return Sample(image, found.boxes_xyxy, found.class_ids, "")


def with_steps(model, step):
    """Return the model with routers that give each expert a logit higher by `step` than the one before."""
    changed = copy.deepcopy(model)
    for layer in changed.mixture_layers().values():
        layer.router.score.weight.data *= 0.1 * step / 9
        layer.router.score.bias.data = step * torch.arange(EXPERTS)
    return changed


@pytest.fixture(scope="module")
def model():
    """Of its four experts, the last has nearly all of the probability."""
    return with_steps(plain_model(num_experts=EXPERTS, top_k=2), 9.0)


@pytest.fixture(autouse=True)
def _times(monkeypatch):
    """Time is in proportion to top_k, and a threshold halves it: measured times would not repeat."""

    def timed(runs, twins, rounds):
        def seconds(controls):
            return controls.top_k * (0.5 if controls.weight_threshold else 1.0)

        return SimpleNamespace(seconds={each: (seconds(each),) * rounds for each in runs})

    monkeypatch.setattr(choice, "time_in_rounds", timed)


def chosen(model, data, *, engine=None, tolerance=TOLERANCES["f32"], count=256):
    images = ChoiceImages("mine train", data, count)
    return choose_defaults(model, engine or Eager(model, SPEC), SPEC, images, tolerance)


def test_experts_that_do_nothing_are_left_out(model):
    found = chosen(model, OwnFindings(model))
    trained, cost = found.settings[0], measure_cost(model)
    assert found.controls == RoutingControls(2, 0.05), "the first threshold: higher ones leave out no more"
    assert trained.controls == RoutingControls(2)
    assert trained.expert_share == 2 / EXPERTS
    assert trained.metric > 0.9
    assert trained.gflops == pytest.approx(cost.at_top_k(2)), "the last experts are the costliest"
    best = next(each for each in found.settings if each.controls == found.controls)
    assert best.expert_share == 1 / EXPERTS
    assert best.metric == pytest.approx(trained.metric, abs=1e-3)
    assert best.gflops == pytest.approx(by_hand(model, OwnFindings(model), found.controls))
    assert best.same_experts == 1
    assert (found.data, found.images, found.metric) == ("mine train", LEAST_IMAGES, "map50_95")


def by_hand(model, data, controls):
    """Compute the mean GFLOPs from the gates of each image."""
    cost, spent = measure_cost(model), []
    for sample in data.samples:
        gates = reference_outputs(model, SPEC, sample.image, controls)["gates"][0]
        of_layers = zip(cost.experts.values(), gates, strict=True)
        spent.append(sum(c for costs, gate in of_layers for c, g in zip(costs, gate, strict=True) if g > 0))
    return cost.fixed + np.mean(spent)


def test_experts_that_matter_stay():
    model = with_steps(plain_model(num_experts=EXPERTS, top_k=2), 0.1)  # probabilities of 0.21 to 0.29
    for layer in model.mixture_layers().values():
        layer.router.score.weight.data.zero_()
        for expert in layer.experts:
            expert.bn.weight.data *= 2  # so that an expert that is left out is missed
    found = chosen(model, OwnFindings(model))
    trained = found.settings[0]
    fewer = [each for each in found.settings if each.gflops < trained.gflops]
    assert {each.weight_threshold for each in fewer} == {0.3, 0.4}
    assert max(each.metric for each in fewer) < trained.metric - 0.001
    assert found.controls == RoutingControls(2)
    assert "no setting with fewer GFLOPs keeps the metric" in found.reason


def test_a_graph_that_rounds_to_other_experts_keeps_the_trained_setting(model):
    other = copy.deepcopy(model)
    for layer in other.mixture_layers().values():
        layer.router.score.bias.data *= -1  # the first expert instead of the last
    found = chosen(
        model, OwnFindings(other), engine=Eager(other, SPEC), tolerance=Tolerance(expert_sets=0.98)
    )
    assert found.controls == model.default_controls()
    assert "rounding" in found.reason
    compared = [each.same_experts for each in found.settings if each.same_experts is not None]
    assert compared
    assert max(compared) < 0.98


def test_too_few_images_keep_the_trained_setting_and_say_so(model):
    with collecting() as said:
        found = chosen(model, OwnFindings(model, 3))
    assert found.controls == model.default_controls()
    assert found.settings == ()
    assert f"3 images of mine train are too few to choose by, {LEAST_IMAGES} are needed" in found.reason
    assert any("stay as trained: 3 images" in line for line in said)


def scenes_of(task):
    return ScenesDataset(LEAST_IMAGES, 1, (64, 64), task_named(task).labels)


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_every_task_is_measured_by_its_own_metric(task):
    if task == "classify":
        model, data = taught_classifier(), ClassScenesDataset(LEAST_IMAGES, seed=1, image_hw=(64, 64))
    elif task == "pose":
        config = replace(plain_config(), task="pose", skeleton=RAY_SKELETON)
        model, data = conditioned(config, PoseEstimator), scenes_of(task)
    else:
        model, data = shaped_model(task), scenes_of(task)
    found = chosen(model, data)
    assert found.metric == ("top1" if task == "classify" else "map50_95")
    assert found.settings[0].controls == model.default_controls()
    assert all(0 <= each.metric <= 1 for each in found.settings)


@pytest.mark.heavy
def test_an_artifact_states_the_chosen_defaults_and_is_proved_with_them(model, tmp_path):
    data, measured_at = OwnFindings(model), []

    def measure(network):
        result = evaluate(network, data)
        measured_at.append(network.default_controls())
        nmi = nmi_by_layer(result.routed, data)
        baseline = Baseline("mine val", result.images, result.experts, nmi)
        return Measured(data, None, result.mean_ap.map50_95, baseline, {"val_map50_95": 0.5})

    images = ExportImages(tinted_scenes(), tinted_scenes(), choice=ChoiceImages("mine train", data, 64))
    sparse, dense = export_model(
        model,
        tmp_path,
        "tiny",
        images,
        targets=["openvino", "npu"],
        options=ExportOptions(execution="sparse"),
        measure=measure,
        provenance=PROVENANCE,
    )
    manifest = read_artifact(sparse.path).manifest
    assert {row.name: row.default for row in manifest.controls} == {"top_k": 2, "weight_threshold": 0.05}
    assert manifest.golden.controls == {"top_k": 2, "weight_threshold": 0.05}
    assert all(sum(layer.expert_share) == pytest.approx(1) for layer in manifest.mixture), "one expert each"
    assert manifest.provenance.metrics == {"val_map50_95": 0.5}
    told = manifest.default_controls
    assert (told.data, told.images, len(told.measured)) == ("mine train", 64, 12)
    assert told.reason.startswith("fewest GFLOPs")
    with np.load(sparse.path / "golden.npz") as golden:
        assert ((golden["gates"] > 0).sum(axis=-1) == 1).all()

    other = read_artifact(dense.path).manifest
    assert {row.name: row.default for row in other.controls} == {"top_k": 2, "weight_threshold": 0}
    assert all(sum(layer.expert_share) == pytest.approx(2) for layer in other.mixture)
    assert other.default_controls.reason.startswith("as trained: this graph takes the same time")
    assert measured_at == [RoutingControls(2, 0.05), RoutingControls(2)]


@pytest.mark.heavy
def test_a_manifest_from_before_the_choice_is_still_read(model, tmp_path):
    images = ExportImages(tinted_scenes(), tinted_scenes())
    (made,) = export_model(model, tmp_path, "tiny", images, targets=["npu"], provenance=PROVENANCE)
    document = json.loads((made.path / "manifest.json").read_text())
    assert document.pop("default_controls") is None
    (made.path / "manifest.json").write_text(json.dumps(document))
    assert read_artifact(made.path).manifest.default_controls is None


SCENES = ScenesConfig(images=8, seed=3, image_hw=(64, 64))
OTHERS = ScenesConfig(images=9, seed=4, image_hw=(64, 64))


@pytest.mark.parametrize(
    ("options", "targets", "data", "calibration", "reason"),
    [
        (ExportOptions(default_threshold=0.2), ["openvino"], SCENES, OTHERS, "set by whoever"),
        (ExportOptions(default_top_k=1), ["openvino"], SCENES, OTHERS, "set by whoever"),
        (ExportOptions(choice_images=0), ["openvino"], SCENES, OTHERS, "wanted no choice"),
        (ExportOptions(execution="dense"), ["openvino"], SCENES, OTHERS, "takes the same time"),
        (ExportOptions(), ["npu", "tensorrt"], SCENES, OTHERS, "takes the same time"),
        (ExportOptions(), ["onnx"], SCENES, SCENES, "the only data is that on which the artifacts"),
        (ExportOptions(), ["onnx"], SCENES, None, "the only data is that on which the artifacts"),
        (ExportOptions(), ["onnx"], None, None, "there is no training data"),
        (ExportOptions(), ["onnx"], SCENES, FolderConfig(root="/none"), "could not be read"),
    ],
)
def test_why_nothing_is_chosen(options, targets, data, calibration, reason):
    model = plain_model(num_experts=EXPERTS, top_k=2)
    model.config = replace(model.config, class_names=SCENE_CLASSES)
    found = choice_images(model, targets, options, data, calibration)
    assert reason in found
    assert "/none" not in found, "manifests are shared"


def test_the_measured_images_have_no_part_in_the_choice():
    model = plain_model(num_experts=EXPERTS, top_k=2)
    model.config = replace(model.config, class_names=SCENE_CLASSES)
    found = choice_images(model, ["onnx", "npu"], ExportOptions(choice_images=5), SCENES, OTHERS)
    assert (len(found.dataset), found.count, found.name) == (9, 5, "generated scenes, seed 4")
    assert found.indices == [0, 2, 4, 6, 8]


def test_a_model_without_experts_has_nothing_to_choose():
    assert choice_images(tiny_model("yolov12-n"), ["openvino"], ExportOptions(), SCENES, OTHERS) == ""


def test_defaults_that_are_given_are_those_of_the_export(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(workflow, "export_model", lambda model, *_, **__: given.append(model) or [])
    save_model(tmp_path / "model.safetensors", plain_model(num_experts=EXPERTS, top_k=2), {})
    for options in (ExportOptions(default_threshold=0.2), ExportOptions(default_top_k=1)):
        workflow.export(tmp_path / "model.safetensors", tmp_path, "tiny", data=None, options=options)
    assert [each.default_controls() for each in given] == [
        RoutingControls(2, pytest.approx(0.2)),
        RoutingControls(1),
    ]
    options = ExportOptions(default_top_k=9)
    with pytest.raises(ConfigError, match="top_k=9"):
        workflow.export(tmp_path / "model.safetensors", tmp_path, "tiny", data=None, options=options)
