"""An export of a model with paths writes a router and a graph for each route, or nothing at all."""

import asyncio
import json
import shutil

import numpy as np
import onnx
import openvino as ov
import pytest

from service.artifact.repository import read_artifact
from service.backends.table import BACKENDS
from service.errors import ArtifactBroken, ArtifactMismatch
from service.settings import Settings
from tests.path_artifacts import swap_graphs
from tests.path_builders import path_model
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, tinted_scenes
from tests.unit.training.export.engines import canvases
from training.errors import CheckpointError, ConfigError, ExportError
from training.export.artifact import bundle
from training.export.artifact.bundle import export_model
from training.export.artifact.stored_manifest import read_manifests
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import Eager
from training.export.targets import paths as path_targets
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.models.mixture.routing import RoutingControls
from training.predict.open import open_artifact

NAMES = ["router", *(f"path{path}-k{top_k}" for path in range(3) for top_k in (1, 2))]


def export(model, repository, target="openvino", name="tiny", **options):
    images = tinted_scenes()
    (exported,) = export_model(
        model,
        repository,
        name,
        ExportImages(images, images, images),
        targets=[target],
        options=ExportOptions(**options),
        provenance=PROVENANCE,
    )
    return exported, json.loads((exported.path / "manifest.json").read_text())


@pytest.fixture(scope="module")
def model():
    return path_model()


@pytest.fixture(scope="module")
def released(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("repository"))


@pytest.mark.heavy
def test_the_manifest_names_the_router_and_every_route_once(model, released):
    exported, manifest = released
    assert [each["name"] for each in manifest["graphs"]] == NAMES
    assert [each["file"] for each in manifest["graphs"]] == [f"{name}.xml" for name in NAMES]
    weights = [each.get("weights") for each in manifest["graphs"]]
    assert weights == [None, *["weights.bin"] * 6]
    stored = {f"{name}.xml" for name in NAMES} | {"router.bin", "weights.bin"}
    assert stored == {name for name in manifest["files"] if name.endswith((".xml", ".bin"))}
    assert (manifest["routing"], manifest["execution"]) == ("path", "dense")
    controls = [row for row in manifest["inputs"] if row["role"] == "control"]
    assert [(row["name"], row["allowed"], row["default"]) for row in controls] == [("top_k", [1, 2], 2)]
    dims = {row["name"]: row["dims"] for row in manifest["outputs"]}
    assert dims["gates"] == dims["router_probs"] == ["B", len(model.config.mixtures), 4]
    assert dims["path_probs"] == ["B", 3]
    paths = manifest["paths"]
    assert paths["router_output"] == {"name": "path_probs", "dtype": "float32", "dims": ["B", 3]}
    assert [route["graph"] for route in paths["routes"]] == NAMES[1:]
    for route in paths["routes"]:
        gates, probs = np.array(route["gates"]), np.array(route["probs"])
        assert ((gates > 0).sum(axis=1) == route["top_k"]).all()
        assert np.allclose(gates.sum(axis=1), 1)
        assert np.allclose(probs.sum(axis=1), 1)
    cheap, full = paths["routes"][:2]
    assert manifest["gflops"]["fixed"] < cheap["gflops"] < full["gflops"] < manifest["gflops"]["dense"]
    assert paths["share"] is None
    assert (exported.path.parent / "config.pbtxt").is_file()  # of the model that asks router and routes


@pytest.mark.heavy
def test_an_artifact_that_is_run_as_a_server_runs_it_gives_the_answers_of_the_checkpoint(model, released):
    exported, _ = released
    loaded, eager, taken = (
        open_artifact(exported.path, None),
        Eager(model, GraphSpec("dense", "graph")),
        set(),
    )
    assert list(loaded.top_ks) == [1, 2]
    for canvas in canvases(12):
        for top_k in (1, 2):
            controls = RoutingControls(top_k)
            wanted, got = eager.answer(canvas, controls), loaded.run(canvas, controls)
            assert np.allclose(wanted["path_probs"], got["path_probs"], atol=1e-5)
            assert np.array_equal(wanted["gates"], got["gates"])
            assert np.array_equal(wanted["router_probs"], got["router_probs"])
            assert np.allclose(wanted["scores"], got["scores"], atol=1e-4)
            taken.add(int(got["path_probs"].argmax()))
    assert taken == {0, 1, 2}
    golden = np.load(exported.path / "golden.npz")
    again = loaded.run(golden["input"][0], RoutingControls(2))
    assert set(again) >= {"path_probs", "gates", "router_probs"}
    for role, name in {"boxes_xyxy": "boxes", "scores": "scores", "path_probs": "path_probs"}.items():
        assert np.array_equal(again[role], golden[name])


@pytest.mark.heavy
@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_a_path_that_averages_its_experts_has_one_graph_with_the_answers_of_the_checkpoint(target, tmp_path):
    model = path_model(expert="dynamic")
    exported, manifest = export(model, tmp_path, target)
    assert [each["name"] for each in manifest["graphs"]] == ["router", *(f"path{p}-k4" for p in range(3))]
    (control,) = (row for row in manifest["inputs"] if row["role"] == "control")
    assert (control["name"], control["allowed"], control["default"]) == ("top_k", [4], 4)
    for route in manifest["paths"]["routes"]:
        assert (np.array(route["gates"]) > 0).all()
        assert route["gflops"] == manifest["gflops"]["fixed"] == manifest["gflops"]["dense"]
    eager, loaded = Eager(model, GraphSpec("dense", "graph")), open_artifact(exported.path, None)
    for canvas in canvases(6):
        wanted, got = eager.answer(canvas, RoutingControls(4)), loaded.run(canvas, RoutingControls(4))
        for role in ("path_probs", "gates", "router_probs", "scores"):
            assert np.allclose(wanted[role], got[role], atol=1e-4)
    served = BACKENDS[target].open(read_artifact(exported.path), Settings())  # replays every route
    asyncio.run(served.close())


@pytest.mark.heavy
def test_an_artifact_whose_shared_weights_are_damaged_does_not_run(released, tmp_path):
    exported, _ = released
    copied = tmp_path / "tiny-openvino" / "1"
    shutil.copytree(exported.path, copied)
    weights = copied / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"weights\.bin is not the file that was exported"):
        open_artifact(copied, None)
    with pytest.raises(ArtifactBroken, match=r"weights\.bin has sha256"):
        read_artifact(copied)


def opened(folder):
    """Open an artifact as the service does, with all of its routes."""
    return BACKENDS["openvino"].open(read_artifact(folder), Settings(brownout={"min_top_k": 1}))


@pytest.mark.heavy
def test_the_golden_sample_has_the_answer_of_every_route_and_the_service_compares_it(released, tmp_path):
    exported, manifest = released
    golden, loaded = np.load(exported.path / "golden.npz"), open_artifact(exported.path, None)
    scores = golden["routes_scores"]
    assert scores.shape[0] == len(manifest["paths"]["routes"]) == 6
    assert scores.shape[1] <= 32
    routed = loaded.run(golden["input"][0], RoutingControls(2))
    of_route = 2 * int(routed["path_probs"].argmax()) + 1
    rows = golden["routes_rows"][of_route]
    assert np.array_equal(scores[of_route][rows >= 0], routed["scores"][0, rows[rows >= 0]])
    asyncio.run(opened(exported.path).close())
    copied = tmp_path / "tiny-openvino" / "1"
    for one, other in (("path0-k2", "path2-k2"), ("path1-k1", "path2-k1"), ("path2-k1", "path2-k2")):
        shutil.copytree(exported.path, copied)
        swap_graphs(copied, one, other)
        with pytest.raises(ArtifactMismatch, match=f"path {one[4]} at top_k {one[-1]}"):
            opened(copied)
        shutil.rmtree(copied)


@pytest.mark.heavy
def test_a_route_with_other_weights_is_refused_and_nothing_is_written(model, tmp_path, monkeypatch):
    """Give path 2 at top_k 1 the graph of path 1, which perhaps only images forced on path 2 show."""
    build = path_targets.fixed_network
    routes = {route.key: route for route in path_targets.routes_of(model)}

    def swapped(model, route):
        return build(model, routes[1, 1] if route.key == (2, 1) else route)

    monkeypatch.setattr(path_targets, "fixed_network", swapped)
    with pytest.raises(ExportError, match="of the exported graph differ from the checkpoint"):
        export(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
def test_a_version_with_paths_is_not_put_beside_versions_without(released):
    exported, _ = released
    older = read_manifests(exported.path.parent)
    with pytest.raises(ConfigError, match="has paths, and this model has none: export it under another"):
        bundle._check_kind(older, has_paths=False)


@pytest.mark.heavy
def test_triton_gets_a_model_for_each_graph_without_copies_of_the_weights(released):
    exported, _ = released
    repository = exported.path.parents[1]
    for name in NAMES:
        version = repository / f"tiny-openvino-{name}" / "1"
        assert (version.parent / "config.pbtxt").is_file()
        linked = {path.name: path.resolve() for path in version.iterdir()}
        weights = "router.bin" if name == "router" else "weights.bin"
        assert linked == {
            f"{name}.xml": exported.path / f"{name}.xml",
            f"{name}.bin": exported.path / weights,
        }
        assert all(path.is_symlink() and path.is_file() for path in version.iterdir())


# Rounding moves an untrained model far more than a trained one.
LOOSE = Tolerance(
    boxes_px=64, boxes_relative=0, scores=0.5, probabilities=1, gates=1, expert_sets=0.9, metric=1
)


def quantised(path, weights):
    graph = ov.Core().read_model(path, weights)
    return any(node.get_type_name() == "FakeQuantize" for node in graph.get_ops())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("target", "precision"), [("openvino", "int8"), ("onnx", "f32"), ("npu", "f32"), ("tensorrt", "f16")]
)
def test_every_target_has_a_graph_for_each_route_and_a_router_in_float32(
    target, precision, tmp_path, monkeypatch
):
    if precision != "f32":
        monkeypatch.setattr(bundle, "TOLERANCES", {precision: LOOSE})
    model = path_model("classify", count=2)
    exported, manifest = export(model, tmp_path, target, precision=precision)
    files = [exported.path / each["file"] for each in manifest["graphs"]]
    assert [path.stem for path in files] == ["router", "path0-k1", "path0-k2", "path1-k1", "path1-k2"]
    assert manifest["precision"] == precision
    if precision == "int8":
        weights = [exported.path / (each.get("weights") or "router.bin") for each in manifest["graphs"]]
        assert list(map(quantised, files, weights)) == [False, True, True, True, True]
    if target != "openvino":
        weights = [onnx.load(path).graph.initializer for path in files]
        halved = [any(each.data_type == onnx.TensorProto.FLOAT16 for each in graph) for graph in weights]
        assert halved == [False, *[precision == "f16"] * 4]
    taken = Eager(model, GraphSpec("dense", "graph")).answer(canvases(1)[0], RoutingControls(1))
    if target in ("onnx", "npu"):  # the exporter compares them in OpenVINO too
        artifact = read_artifact(exported.path)
        for backend in ("openvino", "onnx"):
            asyncio.run(BACKENDS[backend].open(artifact, Settings(brownout={"min_top_k": 1})).close())
    if target != "tensorrt":
        got = open_artifact(exported.path, None).run(canvases(1)[0], RoutingControls(1))
        assert np.allclose(got["path_probs"], taken["path_probs"], atol=1e-5)
        assert np.array_equal(got["gates"], taken["gates"])
