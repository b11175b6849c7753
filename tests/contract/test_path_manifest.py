"""The schema accepts the manifests of models with paths, and refuses those with an incomplete entry."""

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from training.export.artifact.manifest import Evidence, Identity, Provenance, build_manifest
from training.export.artifact.paths_entry import paths_entry, route_gflops, routes_of_entry
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.graph.fixed_path import Route
from training.export.proof.golden import Golden
from training.export.proof.parity import Parity
from training.models.cost import Cost
from training.models.detector import Detector
from training.models.variants import model_config

SCHEMA = json.loads((Path(__file__).parents[2] / "model_repository" / "manifest.schema.json").read_text())
PLACES = ("backbone.p4", "backbone.p5", "neck.p3", "neck.p4", "neck.p5")
COST = Cost(5.0, dict.fromkeys(PLACES, (0.25, 0.125, 0.25, 0.25)))


def routes(paths=8):
    """Return routes whose experts are 0, or 0 and 1, in every layer."""
    gates = {1: [1, 0, 0, 0], 2: [0.75, 0.25, 0, 0]}
    probs = np.array([[0.5, 0.25, 0.125, 0.125]] * len(PLACES), np.float32)
    return [
        Route(path, top_k, np.array([gates[top_k]] * len(PLACES), np.float32), probs)
        for path in range(paths)
        for top_k in (1, 2)
    ]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return written(tmp_path_factory.mktemp("artifact"))


def written(folder, weights=False):
    """Return the manifest of an artifact whose files are empty, with or without a file of shared weights."""
    config = model_config("sparsight-path-n", ("disc", "ring"), (64, 64))
    assert tuple(config.mixtures) == PLACES
    for name in ("router", *(route.name for route in routes())):
        (folder / f"{name}.xml").write_bytes(b"")
    for name in ("golden.npz", *(["weights.bin"] if weights else [])):
        (folder / name).write_bytes(b"")
    share = [0.125] * 8
    evidence = Evidence(
        Golden({}, {"conf": 0.25}, 0.01),
        Parity(
            8,
            4,
            {"boxes_xyxy": 1e-6, "path_probs": 1e-6},
            {},
            {},
            1.0,
            compared_boxes=40,
            tolerance=TOLERANCES["int8"],
        ),
        COST,
        None,
        None,
        paths=paths_entry(routes(), COST, share),
    )
    form = (GraphSpec("dense", "graph"), "int8")
    files = sorted(folder.iterdir())
    return build_manifest(
        Identity("tiny", "openvino", "1"), Detector(config), form, evidence, Provenance("0" * 64), files
    )


def accepts(document):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_the_router_comes_first_and_the_routes_follow_path_by_path(manifest):
    assert accepts(manifest)
    names = [each["name"] for each in manifest["graphs"]]
    assert names == ["router", *(f"path{path}-k{top_k}" for path in range(8) for top_k in (1, 2))]
    assert [(each["path"], each["top_k"]) for each in manifest["paths"]["routes"]][:3] == [
        (0, 1),
        (0, 2),
        (1, 1),
    ]
    assert manifest["routing"] == "path"
    outputs = {each["role"]: each for each in manifest["outputs"]}
    assert outputs["path_probs"]["dims"] == ["B", 8]
    # Routing is float32 even in an artifact of 8 bits.
    exact = {"absolute": 1e-4, "relative": 0}
    assert [outputs[role]["tolerance"] for role in ("gates", "router_probs", "path_probs")] == [exact] * 3
    assert outputs["scores"]["tolerance"]["absolute"] == TOLERANCES["int8"].scores > 1e-4


def test_graphs_of_openvino_name_the_weights_that_the_exporter_shares(tmp_path, manifest):
    assert not any("weights" in each for each in manifest["graphs"]), "every graph has a file of its own"
    shared = written(tmp_path, weights=True)
    assert accepts(shared)
    router, *others = shared["graphs"]
    assert router == {"name": "router", "file": "router.xml"}
    assert {each["weights"] for each in others} == {"weights.bin"}
    assert [each | {"weights": "weights.bin"} for each in manifest["graphs"][1:]] == others


@pytest.mark.parametrize(
    ("weights", "accepted"), [("w.bin", True), (None, True), ("w.onnx", False), ("", False)]
)
def test_weights_are_a_bin_or_null(manifest, weights, accepted):
    document = copy.deepcopy(manifest)
    document["graphs"][1]["weights"] = weights
    assert accepts(document) == accepted


def test_a_route_costs_what_always_runs_and_its_experts():
    one, two = routes()[:2]
    assert COST.fixed == 5.0 - 5 * 0.875
    assert route_gflops(one, COST) == COST.fixed + 5 * 0.25
    assert route_gflops(two, COST) == COST.fixed + 5 * 0.375


def test_the_routes_of_a_manifest_are_those_that_were_written(manifest):
    for route, again in zip(routes(), routes_of_entry(manifest["paths"]), strict=True):
        assert route.key == again.key
        assert np.array_equal(route.gates, again.gates)
        assert np.array_equal(route.probs, again.probs)


def test_every_key_of_the_entry_is_needed_and_no_other_is_known(manifest):
    for place in ((), ("router_output",), ("routes", 0)):
        for key in [*part(manifest, place), "zz"]:
            document = copy.deepcopy(manifest)
            entry = part(document, place)
            if key == "zz":
                entry[key] = 1
            else:
                del entry[key]
            assert not accepts(document), (place, key)


def part(document, place):
    found = document["paths"]
    for key in place:
        found = found[key]
    return found


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("share", [1.5]),
        ("share", 1),
        ("router", ""),
        ("router_output", {"name": "path_probs", "dtype": "float16", "dims": ["B", 8]}),
        ("router_output", {"name": "path_probs", "dtype": "float32", "dims": ["B", 1]}),
        ("router_output", {"name": "path_probs", "dtype": "float32", "dims": ["B", 8, 1]}),
        ("routes", []),
    ],
)
def test_a_wrong_value_is_refused(manifest, key, wrong):
    assert not accepts({**manifest, "paths": {**manifest["paths"], key: wrong}})


def test_null_is_as_good_as_no_entry_and_an_unmeasured_share_is_null(manifest):
    assert accepts({**manifest, "paths": None})
    assert accepts({**manifest, "paths": {**manifest["paths"], "share": None}})
