"""A manifest of version 1 is converted to version 2 with the same content."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from tests.manifests import of_version_1
from training.export.artifact.version_1 import upgrade

REPOSITORY = Path(__file__).resolve().parents[5] / "model_repository"
SCHEMAS = {
    version: json.loads((REPOSITORY / name).read_text())
    for version, name in ((1, "manifest.1.schema.json"), (2, "manifest.schema.json"))
}
VERSION_1 = {
    "schema_version": 1,
    "name": "mine",
    "target": "openvino",
    "version": "7",
    "variant": "esmoe-n",
    "task": "detect",
    "created": "2026-11-22T19:31:13+00:00",
    "files": {"golden.npz": "0" * 64, "model.bin": "1" * 64, "model.xml": "2" * 64},
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
    "controls": {"top_k": {"allowed": [0, 1, 2], "default": 2}, "weight_threshold": {"default": 0.1}},
    "outputs": {"selection": "graph", "candidates": 100},
    "class_names": ["cat", "dog"],
    "defaults": {"conf": 0.25, "iou": 0.7, "max_det": 300},
    "mixture": [
        {
            "layer": layer,
            "row": row,
            "num_experts": experts,
            "expert_gflops": [0.5] * experts,
            "information_bits": None,
            "expert_share": None,
        }
        for row, (layer, experts) in enumerate((("backbone.p4", 2), ("neck.p3", 3)))
    ],
    "baseline": None,
    "gflops": {"fixed": 1.0, "dense": 3.5},
    "golden": {
        "top_k": 2,
        "weight_threshold": 0.1,
        "conf": 0.3,
        "router_margin": 0.01,
        "tolerance": {
            "input_levels": 1,
            "boxes_px": 0.001,
            "boxes_relative": 1e-5,
            "scores": 0.0002,
            "gates": 0.0003,
        },
    },
    "parity": {
        "images": 8,
        "distinct_expert_sets": 3,
        "boxes_px": 0.5,
        "scores": 0.25,
        "gates": 0.125,
        "compared_boxes": 40,
        "skippable_experts": 5,
        "expert_sets": 1.0,
        "map50_95": {"checkpoint": 0.5, "graph": 0.4},
    },
    "speed": None,
    "provenance": {"checkpoint_sha256": "3" * 64, "data": "", "metrics": {}, "attribution": ""},
}


def old(**changes):
    """Return the manifest of version 1 with entries replaced; a dotted path uses double underscores."""
    document = copy.deepcopy(VERSION_1)
    for path, value in changes.items():
        parent = document
        *parents, last = path.split("__")
        for key in parents:
            parent = parent[key]
        parent[last] = value
    return document


def valid(document):
    validator = jsonschema.Draft202012Validator(SCHEMAS[document["schema_version"]])
    return [error.message for error in validator.iter_errors(document)]


def upgraded(**changes):
    """Return version 2 of a changed manifest that satisfies its schema before and after."""
    document = old(**changes)
    assert not valid(document)
    converted = upgrade(document)
    assert not valid(converted)
    return converted


def rows(converted, key="outputs"):
    return {row["name"]: row for row in converted[key]}


def test_every_tensor_of_the_graph_is_a_row():
    converted = upgraded()
    assert converted["inputs"] == [
        {
            "name": "images",
            "dtype": "u8",
            "dims": ["B", 64, 96, 3],
            "role": "images",
            "resize": {"mode": "letterbox", "pad_value": 114, "interpolation": "bilinear"},
        },
        {
            "name": "top_k",
            "dtype": "i64",
            "dims": ["B", 1],
            "role": "control",
            "allowed": [0, 1, 2],
            "default": 2,
        },
        {
            "name": "weight_threshold",
            "dtype": "f32",
            "dims": ["B", 1],
            "role": "control",
            "range": [0, 1],
            "default": 0.1,
        },
    ]
    assert [(row["name"], row["dtype"], row["dims"], row["role"]) for row in converted["outputs"]] == [
        ("boxes", "f32", ["B", 100, 4], "boxes_xyxy"),
        ("scores", "f32", ["B", 100], "scores"),
        ("class_ids", "i32", ["B", 100], "class_ids"),
        ("gates", "f32", ["B", 2, 3], "gates"),
        ("router_probs", "f32", ["B", 2, 3], "router_probs"),
    ]
    assert {name: tuple(row["tolerance"].values()) for name, row in rows(converted).items()} == {
        "boxes": (0.001, 1e-5),
        "scores": (0.0002, 0),
        "class_ids": (0, 0),
        "gates": (0.0003, 0),
        "router_probs": (0.0003, 0),
    }


def test_what_was_measured_keeps_its_numbers():
    converted = upgraded()
    assert converted["parity"] == {
        "images": 8,
        "distinct_expert_sets": 3,
        "compared_boxes": 40,
        "skippable_experts": 5,
        "expert_sets": 1.0,
        "differences": {"boxes": 0.5, "scores": 0.25, "gates": 0.125},
        "metric": {"name": "map50_95", "checkpoint": 0.5, "graph": 0.4},
    }
    assert converted["golden"] == {
        "controls": {"top_k": 2, "weight_threshold": 0.1},
        "params": {"conf": 0.3},
        "router_margin": 0.01,
        "input_levels": 1,
    }
    assert converted["task_settings"] == {
        "selection": "graph",
        "candidates": 100,
        "defaults": {"conf": 0.25, "iou": 0.7, "max_det": 300},
    }
    assert converted["graphs"] == [{"name": "model", "file": "model.xml"}]
    assert converted["batch"] == [1]
    for key in ("name", "target", "version", "variant", "created", "files", "precision", "execution"):
        assert converted[key] == VERSION_1[key]
    for key in ("routing", "class_names", "mixture", "baseline", "gflops", "speed", "provenance"):
        assert converted[key] == VERSION_1[key]


def test_more_candidates_than_anchors_and_classes_are_as_many_as_there_are():
    # 8 x 12 + 4 x 6 + 2 x 3 = 126 anchors of two classes each
    assert rows(upgraded(outputs__candidates=251))["boxes"]["dims"] == ["B", 251, 4]
    assert rows(upgraded(outputs__candidates=252))["boxes"]["dims"] == ["B", 252, 4]
    assert rows(upgraded(outputs__candidates=253))["boxes"]["dims"] == ["B", 252, 4]


def test_a_graph_that_leaves_selection_to_the_service_returns_every_anchor():
    converted = upgraded(target="onnx", outputs__selection="service")
    found = rows(converted)
    assert list(found) == ["boxes", "class_scores", "gates", "router_probs"]
    assert found["boxes"]["dims"] == ["B", 126, 4]
    assert found["class_scores"]["dims"] == ["B", 126, 2]
    assert found["class_scores"]["tolerance"] == {"absolute": 0.0002, "relative": 0}
    assert converted["parity"]["differences"] == {"boxes": 0.5, "class_scores": 0.25, "gates": 0.125}


def test_without_mixtures_there_are_neither_controls_nor_gates():
    converted = upgraded(
        mixture=[],
        controls={"top_k": None, "weight_threshold": None},
        golden__top_k=None,
        golden__weight_threshold=None,
        golden__router_margin=None,
        parity__gates=0.0,
    )
    assert list(rows(converted, "inputs")) == ["images"]
    assert list(rows(converted)) == ["boxes", "scores", "class_ids"]
    assert converted["golden"]["controls"] == {}
    assert converted["golden"]["router_margin"] is None
    assert converted["parity"]["differences"] == {"boxes": 0.5, "scores": 0.25}


def test_a_fixed_batch_stays_fixed():
    converted = upgraded(target="tensorrt", input__batch=[4])
    assert converted["batch"] == [4]
    assert converted["inputs"][0]["dims"] == ["B", 64, 96, 3]


def test_a_top_k_without_a_threshold_is_the_only_control():
    converted = upgraded(controls__weight_threshold=None, golden__weight_threshold=None)
    assert list(rows(converted, "inputs")) == ["images", "top_k"]
    assert converted["golden"]["controls"] == {"top_k": 2}


def test_what_older_exporters_did_not_measure_stays_unsaid():
    document = old()
    del document["speed"], document["baseline"]
    for key in ("compared_boxes", "skippable_experts", "expert_sets", "map50_95"):
        del document["parity"][key]
    converted = upgrade(document)
    assert not valid(converted)
    assert converted["parity"] == {
        "images": 8,
        "distinct_expert_sets": 3,
        "differences": {"boxes": 0.5, "scores": 0.25, "gates": 0.125},
    }
    assert "speed" not in converted
    assert "metric" not in upgraded(parity__map50_95=None)["parity"]


def test_version_2_is_returned_unchanged_and_version_1_is_not_touched():
    document = old()
    converted = upgrade(document)
    assert document == VERSION_1
    assert upgrade(converted) == converted


def test_the_starter_says_the_same_in_both_versions():
    starter = json.loads((REPOSITORY / "starter-openvino" / "1" / "manifest.json").read_text())
    old = of_version_1(starter)
    assert not valid(old)
    later = {key: entry for key, entry in starter.items() if key != "experts_report"}
    later["baseline"] = {key: later["baseline"][key] for key in ("data", "images")}
    assert upgrade(old) == later


@pytest.mark.parametrize("version", [0, 3, "1", None, True, 1.5])
def test_other_versions_are_refused(version):
    with pytest.raises(ValueError, match="it must be 1 or 2"):
        upgrade(old(schema_version=version))


@pytest.mark.parametrize("document", [None, [], "text", 1])
def test_what_is_not_an_object_is_refused(document):
    with pytest.raises(ValueError, match="it must be 1 or 2"):
        upgrade(document)


@pytest.mark.parametrize(
    ("path", "key"),
    [("golden", "tolerance"), ("controls", "top_k"), ("parity", "images"), ("input", "batch")],
)
def test_a_missing_entry_is_named(path, key):
    document = old()
    del document[path][key]
    with pytest.raises(ValueError, match=f"entry '{key}' is missing"):
        upgrade(document)


@pytest.mark.parametrize("path", ["input", "controls", "outputs", "golden", "parity", "mixture"])
def test_an_entry_of_another_type_is_refused(path):
    with pytest.raises(ValueError, match="another type"):
        upgrade(old(**{path: 5}))


@pytest.mark.parametrize("path", ["input", "controls", "outputs", "golden.tolerance"])
def test_an_unknown_entry_is_refused_where_it_would_be_lost(path):
    document = old()
    parent = document
    for key in path.split("."):
        parent = parent[key]
    parent["zz"] = 1
    with pytest.raises(ValueError, match=rf"{path} has unknown entries: \['zz'\]"):
        upgrade(document)


@pytest.mark.parametrize("path", [(), ("golden",), ("parity",), ("provenance",), ("gflops",)])
def test_an_unknown_entry_elsewhere_is_left_for_the_reader_to_refuse(path):
    document = old()
    parent = document
    for key in path:
        parent = parent[key]
    parent["zz"] = 1
    assert valid(upgrade(document))
