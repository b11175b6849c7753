"""The client reads the newest manifest in Triton's configuration, and refuses a damaged or incomplete one."""

import copy
import hashlib

import numpy as np
import pytest

from clients.errors import ManifestMismatch
from clients.manifest import MixtureLayer, Tensor, newest_manifest
from clients.tasks.detect import DetectParams
from clients.tensors import routing_outputs
from tests.path_artifacts import path_manifest
from tests.unit.clients.conftest import GRAPH, classifier_document, parameters_of

GONE = object()

# Every key that version 1 had, with the smallest model that says something.
VERSION_1 = {
    "schema_version": 1,
    "name": "tiny",
    "target": "openvino",
    "version": "1",
    "variant": "tiny",
    "task": "detect",
    "created": "2026-11-21T12:00:00Z",
    "files": {"golden.npz": "0" * 64, "model.xml": "0" * 64},
    "precision": "f32",
    "execution": "sparse",
    "routing": "normal",
    "input": {
        "name": "images",
        "height": 64,
        "width": 96,
        "batch": [1],
        "resize": {"mode": "letterbox", "pad_value": 114, "interpolation": "bilinear"},
    },
    "controls": {"top_k": {"allowed": [1, 2], "default": 2}, "weight_threshold": {"default": 0.0}},
    "outputs": {"selection": "graph", "candidates": 7},
    "class_names": ["red", "green"],
    "defaults": {"conf": 0.25, "iou": 0.5, "max_det": 100},
    "mixture": [{"layer": "backbone.p4", "row": 0, "num_experts": 4, "expert_gflops": [1, 1, 1, 1]}],
    "gflops": {"fixed": 4.0, "dense": 6.6},
    "golden": {
        "top_k": 2,
        "weight_threshold": 0.0,
        "conf": 0.25,
        "router_margin": 0.05,
        "tolerance": {
            "input_levels": 1,
            "boxes_px": 1e-3,
            "boxes_relative": 1e-5,
            "scores": 1e-4,
            "gates": 1e-4,
        },
    },
    "parity": {"images": 8, "distinct_expert_sets": 4, "boxes_px": 0.0, "scores": 0.0, "gates": 0.0},
    "provenance": {},
}


def changed(document, path, value):
    """Return a copy with one member replaced, or gone."""
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    part = document
    for parent in parents:
        part = part[int(parent) if parent.isdigit() else parent]
    if value is GONE:
        del part[last]
    else:
        part[int(last) if last.isdigit() else last] = value
    return document


def test_every_fact_is_read(document):
    parameters = parameters_of(document)
    manifest = newest_manifest(parameters, GRAPH)
    assert (manifest.name, manifest.target, manifest.version) == ("tiny", "openvino", "1")
    assert manifest.sha256 == hashlib.sha256(parameters["manifest.1"].encode()).hexdigest()
    assert (manifest.precision, manifest.routing) == ("f32", "normal")
    assert (manifest.task, manifest.class_names) == ("detect", ("red", "green", "blue"))
    assert manifest.images == Tensor("images", "u8", ("B", 64, 64, 3), "images")
    assert manifest.images.shape(8) == (8, 64, 64, 3)
    assert (manifest.input_hw, manifest.resize.mode, manifest.resize.pad_value) == (
        (64, 64),
        "letterbox",
        114,
    )
    top_k, threshold = manifest.controls["top_k"], manifest.controls["weight_threshold"]
    assert (top_k.tensor.dtype, top_k.allowed, top_k.default) == ("i64", (1, 2, 3, 4), 2)
    assert (threshold.tensor.dtype, threshold.allowed, threshold.default) == ("f32", None, 0.0)
    assert (threshold.low, threshold.high) == (0, 1)
    assert manifest.output("gates") == Tensor("gates", "f32", ("B", 2, 4), "gates")
    assert manifest.mixture == (MixtureLayer("backbone.p4", 0, 4), MixtureLayer("backbone.p5", 1, 3))


def test_a_manifest_of_version_1_says_the_same_and_keeps_its_own_sum():
    parameters = parameters_of(VERSION_1)
    manifest = newest_manifest(parameters, GRAPH)
    assert manifest.sha256 == hashlib.sha256(parameters["manifest.1"].encode()).hexdigest()
    assert (manifest.input_hw, manifest.resize.pad_value) == ((64, 96), 114)
    assert {name: control.default for name, control in manifest.controls.items()} == {
        "top_k": 2,
        "weight_threshold": 0.0,
    }
    assert manifest.output("boxes_xyxy").dims == ("B", 7, 4)
    assert manifest.output("router_probs").dims == ("B", 1, 4)
    assert manifest.task_settings["candidates"] == 7


def test_a_manifest_of_a_later_version_is_refused(document):
    with pytest.raises(ManifestMismatch, match="schema_version is 3"):
        newest_manifest(parameters_of(document | {"schema_version": 3}), GRAPH)


def test_a_model_without_a_mixture_has_no_controls(document):
    document |= {"inputs": document["inputs"][:1], "outputs": document["outputs"][:3], "mixture": []}
    manifest = newest_manifest(parameters_of(document), GRAPH)
    assert (manifest.controls, manifest.mixture) == ({}, ())
    with pytest.raises(ValueError, match="no output has the role gates"):
        manifest.output("gates")


def test_an_output_of_an_unknown_role_and_a_new_control_are_read(document):
    document["outputs"].append({"name": "embedding", "dtype": "f16", "dims": ["B", 128], "role": "embedding"})
    row = {
        "name": "heat",
        "dtype": "f32",
        "dims": ["B", 1],
        "role": "control",
        "range": [-1, 2],
        "default": 1,
    }
    document["inputs"].append(row)
    manifest = newest_manifest(parameters_of(document), GRAPH)
    assert manifest.output("embedding").dtype == "f16"
    assert (manifest.controls["heat"].low, manifest.controls["heat"].default) == (-1, 1)


def test_a_classifier_is_read():
    manifest = newest_manifest(parameters_of(classifier_document()), GRAPH)
    assert (manifest.task, manifest.resize.mode) == ("classify", "center_crop")
    assert manifest.output("probabilities").name == "p"


def test_the_highest_version_counts_and_ten_is_higher_than_nine(document):
    documents = [document | {"version": version} for version in ("9", "10", "2")]
    assert newest_manifest(parameters_of(*documents), GRAPH).version == "10"


def test_parameters_of_others_are_no_matter(document):
    parameters = parameters_of(document) | {"manifest.": "x", "manifest.latest": "x", "other": "x"}
    assert newest_manifest(parameters, GRAPH).version == "1"


@pytest.mark.parametrize("parameters", [{}, {"sha256.1": "0" * 64}, {"manifest.one": "{}"}])
def test_a_configuration_without_a_manifest_is_refused(parameters):
    with pytest.raises(ManifestMismatch, match="tiny-openvino: its configuration has no manifest"):
        newest_manifest(parameters, GRAPH)


def test_one_changed_character_is_refused(document):
    parameters = parameters_of(document)
    parameters["manifest.1"] = parameters["manifest.1"].replace('"red"', '"rad"')
    with pytest.raises(ManifestMismatch, match="sha256"):
        newest_manifest(parameters, GRAPH)


def test_a_manifest_without_its_sum_is_refused(document):
    parameters = parameters_of(document)
    del parameters["sha256.1"]
    with pytest.raises(ManifestMismatch, match="sha256"):
        newest_manifest(parameters, GRAPH)


def test_a_manifest_under_another_version_is_refused(document):
    parameters = parameters_of(document)
    moved = {"manifest.2": parameters["manifest.1"], "sha256.2": parameters["sha256.1"]}
    with pytest.raises(ManifestMismatch, match="version 2 has the manifest of version 1"):
        newest_manifest(moved, GRAPH)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused(text):
    parameters = {"manifest.1": text, "sha256.1": hashlib.sha256(text.encode()).hexdigest()}
    with pytest.raises(ManifestMismatch, match="cannot be used"):
        newest_manifest(parameters, GRAPH)


@pytest.mark.parametrize(
    "path",
    [
        "name",
        "target",
        "version",
        "task",
        "task_settings",
        "precision",
        "routing",
        "graphs",
        "inputs",
        "inputs.0.name",
        "inputs.0.dtype",
        "inputs.0.dims",
        "inputs.0.role",
        "inputs.0.resize",
        "inputs.0.resize.mode",
        "inputs.0.resize.pad_value",
        "inputs.0.resize.interpolation",
        "inputs.1.default",
        "inputs.2.default",
        "inputs.2.range",
        "outputs",
        "outputs.0.name",
        "outputs.0.dtype",
        "outputs.0.dims",
        "outputs.0.role",
        "class_names",
        "mixture",
        "mixture.0.layer",
        "mixture.0.row",
        "mixture.1.num_experts",
    ],
)
def test_a_missing_fact_is_named(document, path):
    name = path.rpartition(".")[2]
    with pytest.raises(ManifestMismatch, match=rf"{name} is missing"):
        newest_manifest(parameters_of(changed(document, path, GONE)), GRAPH)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", True),
        ("schema_version", "2"),
        ("routing", "odd"),
        ("graphs", []),
        ("graphs", [{"name": "router"}, {"name": "path"}]),
        ("inputs", []),
        ("inputs.0.dtype", "f32"),
        ("inputs.0.dtype", "u16"),
        ("inputs.0.dims", ["B", 64, 64]),
        ("inputs.0.dims", ["B", 64, 64, 4]),
        ("inputs.0.dims", ["B", 0, 64, 3]),
        ("inputs.0.dims", ["B", 64.0, 64, 3]),
        ("inputs.0.dims", ["B", "H", 64, 3]),
        ("inputs.0.dims", [1, 64, 64, 3]),
        ("inputs.0.dims", []),
        ("inputs.0.role", "control"),
        ("inputs.1.role", "mask"),
        ("inputs.1.dims", ["B"]),
        ("inputs.1.allowed", []),
        ("inputs.1.allowed", [1, True]),
        ("inputs.1.default", 5),
        ("inputs.2.name", "top_k"),
        ("inputs.2.range", [0]),
        ("inputs.2.range", [0, 1, 2]),
        ("inputs.2.default", 1.1),
        ("inputs.2.default", float("nan")),
        ("inputs.0.resize.mode", "stretch"),
        ("inputs.0.resize.interpolation", "area"),
        ("inputs.0.resize.pad_value", 256),
        ("inputs.0.resize.pad_value", -1),
        ("outputs.1.role", "boxes_xyxy"),
        ("outputs.1.name", "boxes"),
        ("class_names", []),
        ("class_names", ["red", 2]),
        ("mixture", {}),
        ("mixture.0", 1),
        ("mixture.1.row", 0),
        ("mixture.1.num_experts", 0),
    ],
)
def test_a_fact_that_cannot_be_is_refused(document, path, value):
    with pytest.raises(ManifestMismatch, match="cannot be used"):
        newest_manifest(parameters_of(changed(document, path, value)), GRAPH)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("inputs.0.dims", ["B", 1, 1, 3]),
        ("inputs.0.resize.pad_value", 0),
        ("inputs.0.resize.pad_value", 255),
        ("inputs.1.default", 1),
        ("inputs.2.default", 0),
        ("inputs.2.default", 1),
    ],
)
def test_values_at_the_limits_are_read(document, path, value):
    assert newest_manifest(parameters_of(changed(document, path, value)), GRAPH)


def test_a_model_with_paths_has_several_graphs_and_the_probabilities_of_its_paths():
    manifest = newest_manifest(parameters_of(path_manifest("tiny", "1", "openvino")), GRAPH)
    assert manifest.routing == "path"
    assert [tensor.name for tensor in routing_outputs(manifest)] == ["gates", "router_probs", "path_probs"]


def test_a_model_with_paths_that_does_not_return_them_cannot_be_asked():
    document = path_manifest("tiny", "1", "openvino")
    document["outputs"] = [row for row in document["outputs"] if row["role"] != "path_probs"]
    manifest = newest_manifest(parameters_of(document), GRAPH)
    with pytest.raises(ManifestMismatch, match="no output has the role path_probs"):
        DetectParams().ask(np.zeros((8, 8, 3), np.uint8), manifest)
