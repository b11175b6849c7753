"""A direct client reads the newest manifest, and only one that proves itself and lacks nothing."""

import copy
import hashlib

import pytest

from clients.errors import ManifestMismatch
from clients.manifest import MixtureLayer, newest_manifest
from tests.builders import manifest_for
from tests.unit.clients.conftest import ENSEMBLE, parameters_of

GONE = object()


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
        part[last] = value
    return document


def test_every_fact_is_read(document):
    parameters = parameters_of(document)
    manifest = newest_manifest(parameters, ENSEMBLE)
    assert (manifest.name, manifest.target, manifest.version) == ("tiny", "openvino", "1")
    assert manifest.sha256 == hashlib.sha256(parameters["manifest.1"].encode()).hexdigest()
    assert (manifest.precision, manifest.routing) == ("f32", "normal")
    assert (manifest.input_hw, manifest.pad_value, manifest.candidates) == ((64, 64), 114, 4)
    assert manifest.class_names == ("red", "green", "blue")
    assert (manifest.conf, manifest.iou, manifest.max_det) == (0.25, 0.5, 100)
    assert (manifest.top_k, manifest.allowed_top_k, manifest.weight_threshold) == (2, (1, 2, 3, 4), 0.0)
    assert manifest.mixture == (MixtureLayer("backbone.p4", 0, 4), MixtureLayer("backbone.p5", 1, 3))


def test_a_model_without_a_mixture_has_no_controls(document):
    document |= {"controls": {"top_k": None, "weight_threshold": None}, "mixture": []}
    manifest = newest_manifest(parameters_of(document), ENSEMBLE)
    assert (manifest.top_k, manifest.allowed_top_k, manifest.weight_threshold) == (None, (), None)
    assert manifest.mixture == ()


def test_the_highest_version_counts_and_ten_is_higher_than_nine():
    documents = [manifest_for("tiny", version, "graph") for version in ("9", "10", "2")]
    assert newest_manifest(parameters_of(*documents), ENSEMBLE).version == "10"


def test_parameters_of_others_are_no_matter(document):
    parameters = parameters_of(document) | {"manifest.": "x", "manifest.latest": "x", "other": "x"}
    assert newest_manifest(parameters, ENSEMBLE).version == "1"


@pytest.mark.parametrize("parameters", [{}, {"sha256.1": "0" * 64}, {"manifest.one": "{}"}])
def test_a_configuration_without_a_manifest_is_refused(parameters):
    with pytest.raises(ManifestMismatch, match="tiny-openvino-detect: its configuration has no manifest"):
        newest_manifest(parameters, ENSEMBLE)


def test_one_changed_character_is_refused(document):
    parameters = parameters_of(document)
    parameters["manifest.1"] = parameters["manifest.1"].replace('"red"', '"rad"')
    with pytest.raises(ManifestMismatch, match="sha256"):
        newest_manifest(parameters, ENSEMBLE)


def test_a_manifest_without_its_sum_is_refused(document):
    parameters = parameters_of(document)
    del parameters["sha256.1"]
    with pytest.raises(ManifestMismatch, match="sha256"):
        newest_manifest(parameters, ENSEMBLE)


def test_a_manifest_under_another_version_is_refused(document):
    parameters = parameters_of(document)
    moved = {"manifest.2": parameters["manifest.1"], "sha256.2": parameters["sha256.1"]}
    with pytest.raises(ManifestMismatch, match="version 2 has the manifest of version 1"):
        newest_manifest(moved, ENSEMBLE)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused(text):
    parameters = {"manifest.1": text, "sha256.1": hashlib.sha256(text.encode()).hexdigest()}
    with pytest.raises(ManifestMismatch, match="cannot be used"):
        newest_manifest(parameters, ENSEMBLE)


@pytest.mark.parametrize(
    "path",
    [
        "schema_version",
        "name",
        "target",
        "version",
        "task",
        "precision",
        "routing",
        "input",
        "input.height",
        "input.width",
        "input.resize",
        "input.resize.mode",
        "input.resize.pad_value",
        "input.resize.interpolation",
        "outputs",
        "outputs.candidates",
        "class_names",
        "defaults.conf",
        "defaults.iou",
        "defaults.max_det",
        "controls",
        "controls.top_k",
        "controls.top_k.default",
        "controls.top_k.allowed",
        "controls.weight_threshold",
        "controls.weight_threshold.default",
        "mixture",
        "mixture.0.layer",
        "mixture.0.row",
        "mixture.1.num_experts",
    ],
)
def test_a_missing_fact_is_named(document, path):
    name = path.rpartition(".")[2]
    with pytest.raises(ManifestMismatch, match=rf"{name} is missing"):
        newest_manifest(parameters_of(changed(document, path, GONE)), ENSEMBLE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 2),
        ("schema_version", True),
        ("schema_version", "1"),
        ("task", "segment"),
        ("routing", "odd"),
        ("input.height", 0),
        ("input.width", 64.0),
        ("input.resize.mode", "stretch"),
        ("input.resize.interpolation", "area"),
        ("input.resize.pad_value", 256),
        ("input.resize.pad_value", -1),
        ("defaults.conf", 1.1),
        ("defaults.conf", float("nan")),
        ("defaults.iou", "0.5"),
        ("defaults.max_det", 0),
        ("class_names", []),
        ("class_names", ["red", 2]),
        ("controls.top_k", 2),
        ("controls.top_k.allowed", []),
        ("controls.top_k.allowed", [1, True]),
        ("mixture", {}),
        ("mixture.0", 1),
        ("mixture.1.row", 0),
        ("mixture.1.num_experts", 0),
    ],
)
def test_a_fact_that_cannot_be_is_refused(document, path, value):
    if path == "mixture.0":
        document["mixture"][0] = value
    else:
        document = changed(document, path, value)
    with pytest.raises(ManifestMismatch, match="cannot be used"):
        newest_manifest(parameters_of(document), ENSEMBLE)


@pytest.mark.parametrize(("path", "value"), [("defaults.conf", 0), ("defaults.iou", 1), ("input.height", 1)])
def test_values_at_the_limits_are_read(document, path, value):
    assert newest_manifest(parameters_of(changed(document, path, value)), ENSEMBLE)
