"""Exports equal their checkpoint for every routing, skip experts, and are complete or absent."""

import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from service.artifact.repository import read_artifact
from tests.builders import manifest_for
from tests.path_artifacts import build_paths
from tests.training_builders import plain_model, reference_outputs
from tests.unit.training.export.engines import ask, onnxruntime, openvino, poisoned
from training.data.images.letterbox import letterbox_image
from training.data.scenes.scenes import ScenesDataset
from training.errors import ExportError
from training.export.artifact import bundle
from training.export.artifact.bundle import export_model, next_version
from training.export.artifact.manifest import Provenance
from training.export.artifact.release import remove_stale_staging
from training.export.contract.precision import TOLERANCES
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.graph.onnx_file import STATIC_OPERATORS, TENSORRT_OPERATORS, to_onnx
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.proof.parity import Parity, measure_parity
from training.export.targets import build
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.export.targets.targets import TARGETS, graph_spec
from training.export.triton.config import TritonOptions, write_all_configs
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import save_model

ROOT = Path(__file__).resolve().parents[5]
PROVENANCE = Provenance(checkpoint_sha256="0" * 64)
TOLERANCE = TOLERANCES["f32"]
SPARSE = ExportOptions(execution="sparse")  # whatever is quicker on this machine


def tinted_scenes() -> list[np.ndarray]:
    """Scenes of different tints, so that routers that look at averages tell them apart."""
    scenes = ScenesDataset(6, seed=3, image_hw=(48, 64))
    tints = [(1, 1, 1), (0.1, 0.1, 0.1), (1, 0.2, 0.2), (0.2, 1, 0.2), (0.2, 0.2, 1), (0.5, 0.5, 0)]
    return [(scenes.load(i).image * np.array(tint)).astype(np.uint8) for i, tint in enumerate(tints)]


@pytest.fixture(scope="module")
def model():
    return plain_model()


@pytest.fixture(scope="module")
def traced():
    """By target, the graphs that `released` was made of; none is traced twice."""
    return {}


@pytest.fixture(scope="module")
def released(model, traced, tmp_path_factory):
    """One export of every target, shared by the tests that only read it."""
    repository = tmp_path_factory.mktemp("repository")
    images = tinted_scenes()
    specs = {target: graph_spec(target, has_mixture=True) for target in TARGETS}

    def kept(model, spec):
        (target,) = (target for target, known in specs.items() if known == spec)
        traced[target] = to_onnx(model, spec)
        return traced[target]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "to_onnx", kept)
        return export_model(
            model,
            repository,
            "tiny",
            ExportImages(images, images),
            targets=list(specs),
            options=SPARSE,
            provenance=PROVENANCE,
        )


@pytest.mark.heavy
def test_every_target_equals_the_checkpoint_on_inputs_that_route_differently(released):
    for exported in released:
        worst = exported.parity.excess
        scores = "class_scores" if "class_scores" in worst else "scores"
        assert list(worst) == ["boxes_xyxy", scores, "gates", "router_probs"]
        assert worst["boxes_xyxy"] <= TOLERANCE.boxes_px
        assert worst[scores] <= TOLERANCE.scores
        assert max(worst["gates"], worst["router_probs"]) <= TOLERANCE.gates
        assert exported.parity.expert_sets == 1
        assert exported.parity.distinct_expert_sets > 2, "top_k = 1 must see several sets"


@pytest.mark.heavy
@pytest.mark.parametrize(("target", "open_engine"), [("openvino", openvino), ("onnx", onnxruntime)])
def test_a_poisoned_expert_spoils_only_the_images_that_choose_it_when_sparse(
    model, released, traced, target, open_engine, tmp_path
):
    canvases = [letterbox_image(image, (64, 64))[0] for image in tinted_scenes()]
    spoilt = copy.deepcopy(model)
    spoilt.backbone.mixtures["p3"].experts[0].conv.weight.data.fill_(float("nan"))
    spec = graph_spec(target, has_mixture=True)
    proto = poisoned(traced[target], "backbone.p3", 0)
    if target == "onnx":
        move_weights_into_branches(proto)
    engine = open_engine(proto, tmp_path)
    chose, spared = 0, 0
    for canvas in canvases:
        controls = RoutingControls(1)
        want = reference_outputs(model, spec, canvas, controls)
        got = ask(engine, [canvas], [controls])
        if want["gates"][0, 1, 0] > 0:
            chose += 1
            assert np.isnan(got["scores"]).any()
        else:
            spared += 1
            assert np.abs(got["scores"] - want["scores"]).max() < 1e-4
        dense = reference_outputs(spoilt, spec, canvas, controls)
        assert np.isnan(dense["scores"]).any(), "computing every expert must show the poison"
    assert chose
    assert spared


@pytest.mark.heavy
@pytest.mark.usefixtures("released")
def test_an_expert_with_other_weights_is_refused_and_named(model, traced, tmp_path):
    other = copy.deepcopy(model)
    experts = other.backbone.mixtures["p3"].experts
    experts[0].conv.weight.data = experts[0].conv.weight.data.flip(0)
    spec = graph_spec("npu", has_mixture=True)
    canvases = [letterbox_image(image, (64, 64))[0] for image in tinted_scenes()[:2]]
    parity = measure_parity(other, spec, openvino(traced["npu"], tmp_path), canvases, [1, 2])
    with pytest.raises(ExportError, match=r"exported graph (differ from|chooses) the checkpoint"):
        parity.check()


@pytest.mark.heavy
def test_the_manifest_records_what_was_measured(released):
    openvino, onnx, npu, tensorrt = manifests = [
        json.loads((e.path / "manifest.json").read_text()) for e in released
    ]
    assert [m["execution"] for m in manifests] == ["sparse", "sparse", "dense", "dense"]
    selections = [m["task_settings"]["selection"] for m in manifests]
    assert selections == ["graph", "graph", "service", "graph"]
    assert [m["batch"] for m in manifests] == [[1], [1], [1], [1, 2, 3, 4, 5, 6, 7, 8]]
    for other in (onnx, npu, tensorrt):
        assert set(other["files"]) == {"model.onnx", "golden.npz"}
        assert other["graphs"] == [{"name": "model", "file": "model.onnx"}]
    assert openvino["graphs"] == [{"name": "model", "file": "model.xml"}]
    top_k = {"role": "control", "allowed": [1, 2], "default": 1}
    assert openvino["inputs"][1] == {"name": "top_k", "dtype": "i64", "dims": ["B", 1], **top_k}
    assert openvino["golden"]["controls"] == {"top_k": 1, "weight_threshold": 0}
    assert list(openvino["parity"]["differences"]) == ["boxes", "scores", "gates", "router_probs"]
    assert list(npu["parity"]["differences"]) == ["boxes", "class_scores", "gates", "router_probs"]
    assert [row["layer"] for row in openvino["mixture"]] == [f"backbone.p{i}" for i in (2, 3, 4, 5)]
    assert [m["parity"]["skippable_experts"] for m in manifests] == [8, 8, 0, 0]
    assert [(m["parity"]["expert_sets"], m["parity"]["metric"], m["speed"]) for m in manifests] == [
        (1, None, None)
    ] * 4
    assert openvino["golden"]["router_margin"] > 1e-3, "a golden sample near a tie proves nothing elsewhere"
    assert set(openvino["files"]) == {"model.xml", "model.bin", "golden.npz"}


@pytest.mark.heavy
@pytest.mark.usefixtures("released")
def test_the_static_graph_has_fixed_shapes_and_no_control_flow(traced):
    graph = traced["npu"].graph
    operators = {node.op_type for node in graph.node}
    assert operators <= STATIC_OPERATORS
    assert not operators & {"If", "Loop", "TopK", "NonZero", "GatherND", "ScatterElements"}
    for value in (*graph.input, *graph.output):
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name
    assert {value.name for value in graph.input} == {"images", "top_k", "weight_threshold"}


@pytest.mark.heavy
@pytest.mark.usefixtures("released")
def test_the_graph_for_tensorrt_is_open_in_its_batch_alone_and_casts_before_it_does_anything(traced):
    graph = traced["tensorrt"].graph
    assert {node.op_type for node in graph.node} <= TENSORRT_OPERATORS
    for value in (*graph.input, *graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == "batch", value.name
        assert all(size.dim_value > 0 for size in others), value.name
    readers = [node.op_type for node in graph.node if "images" in node.input]
    assert readers == ["Cast"], "TensorRT knows no other operation on uint8"


@pytest.mark.heavy
def test_a_failed_export_leaves_the_repository_as_it_was(model, tmp_path):
    repository = tmp_path / "repository"
    (repository / "tiny-npu" / "1").mkdir(parents=True)
    hopeless = copy.deepcopy(model)
    for branch in hopeless.head.class_branches:
        torch.nn.init.constant_(branch[-1].bias, -50.0)  # finds nothing, so has no golden sample
    images = tinted_scenes()[:1]
    unproved = "too little trained to prove .* scores nothing .* Nothing was written.* --unproved"
    with pytest.raises(ExportError, match=unproved):
        export_model(
            hopeless, repository, "tiny", ExportImages(images, images), targets=["npu"], provenance=PROVENANCE
        )
    assert [str(p.relative_to(repository)) for p in sorted(repository.rglob("*"))] == [
        "tiny-npu",
        "tiny-npu/1",
    ]
    (exported,) = export_model(
        hopeless,
        repository,
        "tiny",
        ExportImages(images, images),
        targets=["npu"],
        options=ExportOptions(unproved=True),
        provenance=PROVENANCE,
    )
    assert not exported.proved
    manifest = read_artifact(exported.path).manifest
    assert (manifest.proved, manifest.golden.params) == (False, {"conf": 0.25})
    assert len(np.load(exported.path / "golden.npz")["det_scores"]) == 0


@pytest.mark.heavy
@pytest.mark.parametrize("moment", ["", "/*/1/golden.npz"])
def test_an_export_killed_leaves_no_half_artifact_and_the_next_one_cleans_up(model, tmp_path, moment):
    checkpoint, repository = tmp_path / "model.safetensors", tmp_path / "repository"
    save_model(checkpoint, model, {})
    command = [sys.executable, "-m", "training", "export", str(checkpoint), "--name", "tiny"]
    command += ["--repository", str(repository), "--target", "onnx", "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(repository.glob(f".staging-*{moment}")) and time.monotonic() < deadline:
        time.sleep(0.002)
        assert process.poll() is None, "the export ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Killed late it may have released its artifact, but then a whole one.
    released = [read_artifact(folder) for folder in repository.glob("tiny-onnx/[1-9]*")]
    assert moment.endswith("golden.npz") or not released
    assert all((repository / "tiny-onnx" / "config.pbtxt").exists() for _ in released)
    assert list(repository.glob(".staging-*"))
    remove_stale_staging(repository)
    assert not list(repository.glob(".staging-*"))


def test_versions_count_up_over_all_targets(tmp_path):
    assert next_version(tmp_path, "cells") == 1
    (tmp_path / "cells-openvino" / "9").mkdir(parents=True)
    (tmp_path / "cells-onnx" / "10").mkdir(parents=True)
    (tmp_path / "cells-onnx" / "draft").mkdir()
    assert next_version(tmp_path, "cells") == 11
    assert next_version(tmp_path, "other") == 1


@pytest.mark.heavy
@pytest.mark.usefixtures("released")
def test_a_graph_for_batches_whose_rows_are_not_those_of_single_runs_is_refused(model, traced, tmp_path):
    """Parity must see a row that takes another row's experts, which single runs never show."""

    class Mixed(OpenVinoEngine):
        def run(self, inputs):
            outputs = super().run(inputs)
            return {name: values[::-1] for name, values in outputs.items()}

    spec = graph_spec("tensorrt", has_mixture=True)
    path = tmp_path / "model.onnx"
    onnx.save(traced["tensorrt"], path)
    canvases = [letterbox_image(image, (64, 64))[0] for image in tinted_scenes()]
    measure_parity(model, spec, OpenVinoEngine(path), canvases, [1, 2]).check()
    with pytest.raises(ExportError, match="the exported graph chooses the checkpoint's experts in"):
        measure_parity(model, spec, Mixed(path), canvases, [1, 2]).check()


@pytest.fixture
def quick(monkeypatch):
    """Let an export write nothing but a manifest."""

    def write(staging, identity, *_):
        manifest = manifest_for(identity.name, identity.version, "service")
        manifest |= {"target": "onnx", "files": dict.fromkeys(("golden.npz", "model.onnx"), 64 * "0")}
        (staging / "manifest.json").write_text(json.dumps(manifest))
        return Parity(1, 1, {}, {}, {})

    monkeypatch.setattr(bundle, "_write_artifact", write)


def quick_export(model, repository, name="tiny"):
    images = ExportImages([], [])
    return export_model(model, repository, name, images, targets=["onnx"], provenance=PROVENANCE)


@pytest.mark.usefixtures("quick")
def test_a_second_version_joins_the_first_in_triton_s_configuration(model, tmp_path):
    for version in ("1", "2"):
        (exported,) = quick_export(model, tmp_path)
        assert exported.path == tmp_path / "tiny-onnx" / version
    assert sorted(path.name for path in (tmp_path / "tiny-onnx").iterdir()) == ["1", "2", "config.pbtxt"]
    for name in ("tiny-onnx", "tiny-onnx-nms", "tiny-onnx-detect"):
        config = (tmp_path / name / "config.pbtxt").read_text()
        assert 'key: "manifest.1"' in config
        assert 'key: "manifest.2"' in config


def models_with_paths(repository):
    """Write three models with paths, delete the artifacts of two, and return the names of all files left."""
    for name, target in (("tiny", "onnx"), ("tiny", "openvino"), ("other", "onnx")):
        build_paths(repository, name=name, target=target)
    write_all_configs(repository, TritonOptions())
    for gone in ("tiny-onnx", "other-onnx"):
        shutil.rmtree(repository / gone)
    return tree(repository)


def tree(repository):
    return {str(path.relative_to(repository)) for path in repository.rglob("*")}


@pytest.mark.usefixtures("quick")
def test_an_export_removes_the_models_of_graphs_of_a_deleted_artifact_of_its_name(model, tmp_path):
    before = models_with_paths(tmp_path)
    stale = {path for path in before if path.startswith(("tiny-onnx-router", "tiny-onnx-path"))}
    assert len(stale) == 7 * 4  # of each graph, its folder, configuration, version and link
    quick_export(model, tmp_path)
    assert stale == before - tree(tmp_path)
    assert (tmp_path / "tiny-onnx" / "2" / "manifest.json").is_file()
    assert not list(tmp_path.glob(".staging-*"))


@pytest.mark.usefixtures("quick")
def test_an_export_that_cannot_remove_them_changes_nothing(model, tmp_path, monkeypatch):
    before, rename = models_with_paths(tmp_path), type(tmp_path).rename

    def refuse(source, target):
        if source == tmp_path / "tiny-onnx-router":  # the last one
            raise PermissionError("not here")
        return rename(source, target)

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with pytest.raises(ExportError, match="nothing was released"):
        quick_export(model, tmp_path)
    assert tree(tmp_path) == before
