"""Reading a manifest: it is strict, numbers must agree with one another, and version 1 is converted."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from service.artifact.manifest import parse_manifest
from service.errors import ArtifactBroken
from tests.builders import output_row

OLD = (
    Path(__file__).parent / "manifest_1.json"
)  # as an exporter of version 1 wrote it, with two of five layers


def parse_changed(tiny, change):
    document = copy.deepcopy(tiny.manifest)
    change(document)
    return parse_manifest(json.dumps(document).encode(), "manifest.json")


def test_a_whole_manifest_is_read(artifact):
    manifest = artifact.manifest
    assert manifest.only_graph().file == "model.xml"
    assert manifest.images.canvas_hw == (64, 64)
    assert [row.name for row in manifest.controls] == ["top_k", "weight_threshold"]
    assert manifest.output("gates").shape(2) == (2, 2, 4)
    assert [layer.layer for layer in manifest.mixture] == ["backbone.p4", "backbone.p5"]


def test_a_graph_is_fed_its_canvas_and_every_control_for_every_image(artifact):
    canvases = np.zeros((3, 64, 64, 3), np.uint8)
    fed = artifact.manifest.feed(canvases, {"top_k": 4})
    assert fed["images"] is canvases
    assert (fed["top_k"].dtype, fed["top_k"].tolist()) == (np.int64, [[4]] * 3)
    assert (fed["weight_threshold"].dtype, fed["weight_threshold"].tolist()) == (np.float32, [[0.0]] * 3)


def without_mixture(document):
    document["mixture"] = []
    document["outputs"] = document["outputs"][:3]


def test_a_model_without_mixture_layers_needs_no_gates(tiny):
    manifest = parse_changed(tiny, without_mixture)
    assert [row.role for row in manifest.outputs] == ["boxes_xyxy", "scores", "class_ids"]


def test_a_role_that_nobody_knows_is_read_like_any_other(tiny):
    row = output_row("embedding", "embedding", [128])
    manifest = parse_changed(tiny, lambda document: document["outputs"].append(row))
    assert manifest.output("embedding").shape(1) == (1, 128)


def test_several_graphs_are_read_and_refused_only_by_who_can_run_just_one(tiny):
    def add_graph(document):
        document["graphs"].append({"name": "path_1", "file": "path_1.xml"})
        document["files"]["path_1.xml"] = "0" * 64

    manifest = parse_changed(tiny, add_graph)
    assert [graph.name for graph in manifest.graphs] == ["model", "path_1"]
    with pytest.raises(ArtifactBroken, match=r"tiny-openvino version 1 has 2 graphs \(model, path_1\)"):
        manifest.only_graph()


@pytest.mark.parametrize(("target", "file"), [("onnx", "m.onnx"), ("npu", "m.onnx"), ("tensorrt", "m.plan")])
def test_a_graph_has_the_ending_of_its_target(tiny, target, file):
    def change(document):
        document["target"], document["graphs"][0]["file"] = target, file
        document["files"][file] = "0" * 64

    assert parse_changed(tiny, change).target == target


def share_weights(name, **changes):
    """Return a change that names a file for the weights of the graph, where w.bin is there."""

    def change(document):
        document["graphs"][0]["weights"] = name
        document["files"]["w.bin"] = "0" * 64
        document.update(changes)

    return change


def test_a_graph_may_name_the_file_of_its_weights(tiny):
    assert parse_changed(tiny, share_weights("w.bin")).graphs[0].weights == "w.bin"
    for change in (share_weights(None), lambda document: None):
        assert parse_changed(tiny, change).graphs[0].weights is None


def swap_rows(document):
    document["mixture"][1]["row"] = 2


def row_of(side, index, **changes):
    return lambda document: document[side][index].update(changes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda d: d.update(colour="red"), "colour: Extra inputs", id="unknown key"),
        pytest.param(lambda d: d["inputs"][0].pop("dims"), "dims: Field required", id="missing key"),
        pytest.param(row_of("inputs", 0, dims=["B", 64.5, 64, 3]), "inputs.0.images.dims", id="half a pixel"),
        pytest.param(row_of("inputs", 0, dims=["B", "64", 64, 3]), "inputs.0.images.dims", id="text"),
        pytest.param(row_of("inputs", 0, dims=[1, 64, 64, 3]), "must begin with B", id="no batch"),
        pytest.param(row_of("inputs", 0, dims=["B", 64, "B", 3]), "must begin with B", id="batch twice"),
        pytest.param(row_of("inputs", 0, dims=["B", 64, 64, 4]), "[B, height, width, 3]", id="four channels"),
        pytest.param(lambda d: d["inputs"].pop(0), "exactly one row", id="no image input"),
        pytest.param(
            row_of("inputs", 0, resize={"mode": "center_crop", "interpolation": "bilinear"}),
            "task detect needs resize mode letterbox",
            id="a crop, which boxes have no way back from",
        ),
        pytest.param(lambda d: d["inputs"].append(d["inputs"][0] | {"name": "b"}), "exactly one", id="two"),
        pytest.param(row_of("inputs", 1, name="images"), "a name appears twice", id="input twice"),
        pytest.param(
            row_of("inputs", 1, dtype="u8", allowed=[1, 2, 256]), "of that type", id="256 in 8 bits"
        ),
        pytest.param(
            lambda d: d["inputs"][2].update(dtype="i64"), "an input of i64 needs", id="whole, with a range"
        ),
        pytest.param(row_of("inputs", 1, default=5), "default 5 is not one of", id="default not allowed"),
        pytest.param(row_of("inputs", 1, range=[0, 1]), "either allowed or range", id="allowed and range"),
        pytest.param(row_of("inputs", 2, default=1.5), "default 1.5 is not one of", id="default off range"),
        pytest.param(row_of("inputs", 2, dims=["B", 2]), "dims must be [B, 1]", id="two numbers an image"),
        pytest.param(row_of("outputs", 1, dtype="f64"), "outputs.1.dtype", id="unknown dtype"),
        pytest.param(row_of("outputs", 1, name="boxes"), "a name appears twice", id="output twice"),
        pytest.param(row_of("outputs", 1, role="boxes_xyxy"), "a role appears twice", id="role twice"),
        pytest.param(lambda d: d["outputs"].pop(3), "no row has the role gates", id="no gates"),
        pytest.param(lambda d: d["outputs"].pop(1), "no row has the role scores", id="no scores"),
        pytest.param(row_of("outputs", 1, dims=["B", 5]), "scores must be [B, 4]", id="5 scores, 4 boxes"),
        pytest.param(row_of("outputs", 3, dims=["B", 2, 3]), "gates must be [B, 2, 4]", id="gates too few"),
        pytest.param(
            lambda d: d["task_settings"].update(selection="service"), "class_scores", id="selection"
        ),
        pytest.param(swap_rows, "rows must be 0..1", id="row beyond the layers"),
        pytest.param(
            lambda d: d["mixture"][0].update(expert_gflops=[1.0]), "1 entries for 4", id="one cost for four"
        ),
        pytest.param(
            lambda d: d["mixture"][0].update(expert_share=[0.5]), "1 entries for 4", id="one share for four"
        ),
        pytest.param(
            lambda d: d["mixture"][1].update(layer="backbone.p4"), "layer appears twice", id="layer twice"
        ),
        pytest.param(
            lambda d: d["golden"]["controls"].update(top_k=9), "top_k=9 is not allowed", id="golden top_k"
        ),
        pytest.param(
            lambda d: d["golden"]["controls"].update(warmth=1), "no input warmth", id="golden control"
        ),
        pytest.param(
            lambda d: d["golden"]["params"].update(top=1), "no parameter top", id="golden parameter"
        ),
        pytest.param(lambda d: d.update(class_names=["a", "a"]), "appears twice", id="class twice"),
        pytest.param(lambda d: d["files"].pop("golden.npz"), "golden.npz is missing", id="no golden"),
        pytest.param(lambda d: d["files"].pop("model.xml"), "model.xml is missing", id="no graph"),
        pytest.param(lambda d: d.update(target="onnx"), "ends in .onnx", id="graph of another target"),
        pytest.param(share_weights("v.bin"), "files: v.bin is missing", id="no weights"),
        pytest.param(share_weights("w.onnx"), "graphs.0.weights", id="weights of another ending"),
        pytest.param(share_weights(""), "graphs.0.weights", id="weights without a name"),
        pytest.param(
            share_weights(
                "w.bin", target="onnx", graphs=[{"name": "m", "file": "m.onnx", "weights": "w.bin"}]
            ),
            "a graph for onnx has no file of weights",
            id="weights of another target",
        ),
        pytest.param(
            lambda d: d["files"].update({"../passwd": "0" * 64}), "not a plain file name", id="path"
        ),
        pytest.param(lambda d: d.update(schema_version=3), "it must be 1 or 2", id="version of the future"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_field(tiny, change, sentence):
    with pytest.raises(ArtifactBroken, match=r"manifest\.json: ") as caught:
        parse_changed(tiny, change)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", [b"\xff{", b"{", b"[]", b"1", b'{"a":' * 100_000])
def test_bytes_that_are_no_manifest_are_refused(text):
    with pytest.raises(ArtifactBroken, match=r"manifest\.json: (Invalid JSON|Value error)"):
        parse_manifest(text, "manifest.json")


# ---- version 1 ---------------------------------------------------------------------------------------


def test_version_1_becomes_version_2():
    assert json.loads(OLD.read_text())["schema_version"] == 1
    manifest = parse_manifest(OLD.read_bytes(), "old")
    assert manifest.images.shape(1) == (1, 416, 416, 3)
    assert {row.name: row.default for row in manifest.controls} == {"top_k": 2, "weight_threshold": 0.0}
    boxes = manifest.output("boxes_xyxy")
    assert (boxes.shape(1), boxes.tolerance.absolute) == ((1, 1000, 4), 32)
    assert manifest.output("scores").tolerance.absolute == 0.4
    assert manifest.output("gates").shape(1) == (1, 2, 4)
    assert manifest.parity.metric.name == "map50_95"
    assert manifest.golden.controls == {"top_k": 2, "weight_threshold": 0.0}


def test_version_1_is_read_as_strictly():
    document = json.loads(OLD.read_text())
    for key, place in (("colour", document), ("colour", document["input"]), ("colour", document["golden"])):
        place[key] = "red"
        with pytest.raises(ArtifactBroken, match="colour"):
            parse_manifest(json.dumps(document).encode(), "old")
        del place[key]
