"""A small classifier, exported for every target and served, gives its checkpoint's classes."""

import json

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from clients.manifest import newest_manifest
from service.artifact.repository import read_artifact
from tests.integration.service.conftest import serve, wait_until_ready
from tests.training_builders import taught_classifier
from tests.unit.training.messages import collecting
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.evaluate.classification import evaluate_classes
from training.export.artifact import bundle
from training.export.contract.precision import Tolerance
from training.export.graph.onnx_file import STATIC_OPERATORS, TENSORRT_OPERATORS
from training.export.proof.openvino_engine import cpu_capabilities
from training.export.targets.options import ExportOptions
from training.export.targets.targets import TARGETS
from training.trainer.checkpoint import save_model
from training.workflows.export import export

pytestmark = pytest.mark.heavy

SEEN = ScenesConfig(images=10, seed=0, image_hw=(64, 64), labels="class")
EXPERTS = 16  # of four layers


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    save_model(path, taught_classifier(), {"data": "generated scenes"})
    return path


def exported(checkpoint, repository, targets, **options):
    """Return the manifest of each target."""
    with collecting() as said:
        released = export(
            checkpoint,
            repository,
            "things",
            data=SEEN,
            targets=targets,
            options=ExportOptions(**options),
        )
    assert any("top-1 1.0000   top-5 1.0000" in each for each in said)
    return {
        target: json.loads((each.path / "manifest.json").read_text())
        for target, each in zip(targets, released, strict=True)
    }


@pytest.fixture(scope="module")
def repository(checkpoint, tmp_path_factory):
    """Return every target, with sparse execution where there is a choice."""
    folder = tmp_path_factory.mktemp("repository")
    exported(checkpoint, folder, TARGETS, execution="sparse")
    return folder


@pytest.fixture(scope="module")
def found(checkpoint):
    """Return the checkpoint's own classes for the ten images."""
    return evaluate_classes(taught_classifier(), open_dataset(SEEN))


def manifest_of(repository, target):
    return json.loads((repository / f"things-{target}" / "1" / "manifest.json").read_text())


@pytest.mark.parametrize("target", TARGETS)
def test_the_manifest_says_what_the_graph_of_a_classifier_takes_and_returns(repository, target):
    manifest = manifest_of(repository, target)
    images, *controls = manifest["inputs"]
    assert images["dims"] == ["B", 64, 64, 3]
    assert images["resize"] == {"mode": "center_crop", "interpolation": "bilinear"}
    assert [row["name"] for row in controls] == ["top_k", "weight_threshold"]
    probabilities, *routing = manifest["outputs"]
    assert (probabilities["role"], probabilities["dims"]) == ("probabilities", ["B", 5])
    assert probabilities["tolerance"] == {"absolute": 1e-4, "relative": 0.0}
    assert [(row["role"], row["dims"]) for row in routing] == [
        ("gates", ["B", 4, 4]),
        ("router_probs", ["B", 4, 4]),
    ]
    assert (manifest["task"], manifest["task_settings"]) == ("classify", {"defaults": {"top": 5}})
    assert manifest["golden"]["params"] == {}
    assert manifest["parity"]["compared_boxes"] is None
    assert manifest["parity"]["metric"] == {"name": "top1", "checkpoint": 1.0, "graph": 1.0}
    assert manifest["parity"]["distinct_expert_sets"] > 3, "at top_k 1, 2 and 4 images must route differently"
    assert manifest["parity"]["skippable_experts"] == (EXPERTS if manifest["execution"] == "sparse" else 0)
    assert manifest["provenance"]["metrics"] == {"val_top1": 1.0, "val_top5": 1.0}
    routing = manifest["baseline"].pop("routing")
    assert manifest["baseline"] == {"data": "generated scenes, seed 0", "images": 10}
    assert (routing["data"], routing["images"]) == ("generated scenes, seed 0", 10)
    assert [each["top_k"] for each in routing["settings"]] == [2, 1, 4]  # the default first
    assert manifest["execution"] == ("sparse" if target in ("openvino", "onnx") else "dense")


@pytest.mark.parametrize("target", TARGETS)
def test_the_golden_sample_holds_the_likeliest_classes_best_first(repository, target):
    with np.load(repository / f"things-{target}" / "1" / "golden.npz", allow_pickle=False) as golden:
        probabilities, best = golden["probabilities"], golden["cls_class_ids"]
        assert golden["input"].shape == (1, 64, 64, 3)
        assert np.array_equal(golden["cls_scores"], probabilities[0][best])
    assert probabilities.shape == (1, 5)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(probabilities[0][best]) <= 0).all()
    assert sorted(best) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("target", TARGETS)
def test_service_and_clients_read_what_the_exporter_wrote(repository, target):
    folder = repository / f"things-{target}" / "1"
    assert read_artifact(folder).manifest.task == "classify"
    config = (folder.parent / "config.pbtxt").read_text()
    model = text_format.Parse(config, model_config_pb2.ModelConfig())
    parameters = {name: value.string_value for name, value in model.parameters.items()}
    assert newest_manifest(parameters, "things").task == "classify"


@pytest.mark.parametrize(
    ("target", "operators"), [("npu", STATIC_OPERATORS), ("tensorrt", TENSORRT_OPERATORS)]
)
def test_graphs_without_control_flow_hold_what_their_engines_know(repository, target, operators):
    graph = onnx.load(repository / f"things-{target}" / "1" / "model.onnx").graph
    assert {node.op_type for node in graph.node} <= operators


@pytest.mark.parametrize("target", TARGETS)
def test_triton_gets_the_graph_alone(repository, target):
    assert (repository / f"things-{target}" / "config.pbtxt").is_file()
    assert {path.name for path in repository.iterdir()} == {f"things-{each}" for each in TARGETS}


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("openvino", {"backends": "openvino"}),
        ("npu", {"backends": "openvino", "target": "npu"}),
        ("onnx", {"backends": "onnx"}),
        ("npu", {"backends": "onnx", "onnx": {"target": "npu"}}),
    ],
)
def test_the_service_finds_the_checkpoints_classes(repository, found, target, settings):
    scenes = open_dataset(SEEN)
    with serve(repository=repository, **settings) as running:
        assert wait_until_ready(running).status_code == 200, "the golden sample was not reproduced"
        for index, want in enumerate(found.probabilities):
            answer = running.detect(scenes.encoded(index), model="things", top=3).json()
            assert answer["model"]["backend"] == settings["backends"]
            class_ids = [one["class_id"] for one in answer["predictions"]]
            assert class_ids[0] == want.argmax()
            scores = [one["confidence"] for one in answer["predictions"]]
            assert scores == pytest.approx(want[class_ids], abs=1e-4)
            assert scores == pytest.approx(np.sort(want)[::-1][:3], abs=1e-4)
            chosen = [layer["active"] for layer in answer["moe"]["layers"]]
            gates = [gates[index] for gates in found.routed.gates.values()]
            assert chosen == [np.flatnonzero(gate).tolist() for gate in gates]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("execution", ["sparse", "dense"])
def test_a_classifier_is_exported_in_fewer_bits(checkpoint, tmp_path, monkeypatch, precision, execution):
    # Rounding moves what has learned for seconds far more than what is trained; what it finds must stay.
    loose = Tolerance(probabilities=1, gates=1, expert_sets=0.9)
    monkeypatch.setattr(bundle, "TOLERANCES", {precision: loose})
    if precision == "bf16" and "BF16" not in cpu_capabilities():
        pytest.skip("this CPU does not compute in bf16")
    manifest = exported(checkpoint, tmp_path, ["openvino"], precision=precision, execution=execution)[
        "openvino"
    ]
    assert (manifest["precision"], manifest["execution"]) == (precision, execution)
    assert manifest["outputs"][0]["tolerance"]["absolute"] == loose.probabilities
    assert manifest["parity"]["metric"]["graph"] == 1
    assert read_artifact(tmp_path / "things-openvino" / "1").manifest.task == "classify"


def test_without_mixtures_it_keeps_to_the_tolerance_of_8_bits_and_a_gpu_takes_any_batch(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, taught_classifier("yolov12-n-cls"), {"data": "generated scenes"})
    for target, precision, batch in (("openvino", "int8", [1]), ("tensorrt", "f32", [*range(1, 9)])):
        manifest = exported(path, tmp_path / precision, [target], precision=precision)[target]
        assert [row["role"] for row in manifest["outputs"]] == ["probabilities"]
        assert [row["name"] for row in manifest["inputs"]] == ["images"]
        assert (manifest["mixture"], manifest["batch"]) == ([], batch)
