"""The routing statistics in a manifest, with which a service compares its own images."""

import numpy as np
import pytest

from tests.training_builders import mean_ap
from training.data.evaluation import Truth
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.evaluate.baseline import Baseline, nmi_by_layer
from training.evaluate.evaluator import Evaluation
from training.evaluate.routed import RoutedImages
from training.export.artifact.manifest import Evidence, Identity, Provenance, build_manifest
from training.export.contract.spec import GraphSpec
from training.export.proof.golden import Golden
from training.export.proof.parity import Parity
from training.models.cost import Cost
from training.models.detector import Detector
from training.models.variants import model_config

SCENES = open_dataset(ScenesConfig(images=6, image_hw=(64, 64)))
GOLDEN = Golden({}, {"conf": 0.25}, None)
STATIC = [[0.5, 0.5, 0, 0]] * 6
BY_ORIGIN = np.eye(4)[np.arange(6) % 3]


def manifest_of(tmp_path, baseline, variant="esmoe-n"):
    """As it is written for a small model."""
    model = Detector(model_config(variant, ("disc",), (64, 64)))
    experts = dict.fromkeys(model.mixture_layers(), (0.1,) * 4)
    files = [tmp_path / name for name in ("model.onnx", "golden.npz")]
    for file in files:
        file.write_bytes(b"")
    return build_manifest(
        Identity("tiny", "npu", "1"),
        model,
        (GraphSpec("dense", "service"), "f32"),
        Evidence(
            Golden({}, {"conf": 0.25}, None), Parity(1, 1, {}, {}, {}), Cost(4.0, experts), baseline, None
        ),
        Provenance(checkpoint_sha256="0" * 64),
        files,
    )


def measured(gates, boxes_per_image=(2,) * 6, layers=("p2", "p3", "p4", "p5")):
    """A baseline of six scenes whose every layer has these gates, and as much probability."""
    gates = np.array(gates, np.float32)
    truths = tuple(
        Truth(np.zeros((boxes, 4), np.float32), np.zeros(boxes, np.int64), (64, 64), "")
        for boxes in boxes_per_image
    )
    of_layer = {f"backbone.{layer}": gates for layer in layers}
    result = Evaluation(routed=RoutedImages(truths, of_layer, of_layer), mean_ap=mean_ap(0, 0, 0))
    return Baseline("scenes val", result.images, result.experts, nmi_by_layer(result.routed, SCENES))


def test_a_router_that_finds_all_images_alike_is_released_as_static(tmp_path):
    manifest = manifest_of(tmp_path, measured(STATIC))
    assert manifest["routing"] == "static"
    assert manifest["baseline"] == {"data": "scenes val", "images": 6}
    for layer in manifest["mixture"]:
        assert (layer["information_bits"], layer["distinct_sets"], layer["commonest_set_share"]) == (0, 1, 1)
        assert layer["expert_share"] == [1, 1, 0, 0]
        assert layer["nmi"] == {"origin": 0, "density": None}


def test_a_router_that_knows_the_image_is_released_with_what_it_knows(tmp_path):
    manifest = manifest_of(tmp_path, measured(BY_ORIGIN, (1, 1, 1, 9, 9, 9)))
    assert manifest["routing"] == "normal"
    assert manifest["baseline"]["images"] == 6
    for layer in manifest["mixture"]:
        assert (layer["distinct_sets"], layer["commonest_set_share"]) == (3, pytest.approx(1 / 3))
        assert layer["nmi"] == {"origin": pytest.approx(1), "density": pytest.approx(0, abs=1e-9)}


def test_what_was_not_measured_is_null(tmp_path):
    manifest = manifest_of(tmp_path, None)
    assert (manifest["routing"], manifest["baseline"]) == ("normal", None)
    for layer in manifest["mixture"]:
        assert {layer[name] for name in ("information_bits", "distinct_sets", "commonest_set_share")} == {
            None
        }
        assert layer["expert_share"] is layer["nmi"] is None


def test_a_model_without_a_mixture_has_nothing_to_compare(tmp_path):
    manifest = manifest_of(tmp_path, measured(STATIC, layers=()), "yolov12-n")
    assert (manifest["routing"], manifest["mixture"], manifest["baseline"]) == ("normal", [], None)
