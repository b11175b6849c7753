"""The manifest of a model with paths is read strictly: its routes, graphs, weights and controls agree."""

import copy
import json

import pytest

from service.artifact.manifest import parse_manifest
from service.errors import ArtifactBroken
from tests.path_artifacts import path_manifest


@pytest.fixture
def document():
    found = path_manifest("routed", "1", "openvino")
    found["files"] = {graph["file"]: "0" * 64 for graph in found["graphs"]}
    found["files"] |= {"golden.npz": "0" * 64, "routing.npz": "0" * 64}
    return found


def parse(document):
    return parse_manifest(json.dumps(document).encode(), "manifest.json")


def test_a_whole_manifest_is_read(document):
    manifest = parse(document)
    assert manifest.paths.count == 3
    assert manifest.paths.top_ks == (1, 2)
    route = manifest.paths.route(2, 1)
    assert (route.path, route.top_k, route.graph) == (2, 1, "path2-k1")
    assert route.gates[0] == (0, 0, 1, 0)
    assert manifest.skips_experts
    assert manifest.output("path_probs").shape(2) == (2, 3)


def test_a_model_without_paths_has_none(document):
    del document["paths"]
    with pytest.raises(ArtifactBroken, match="paths: a model has them exactly if its routing is path"):
        parse(document)


def test_who_runs_one_graph_refuses_several(document):
    with pytest.raises(ArtifactBroken, match=r"has 7 graphs .*; a model with paths has one for each path"):
        parse(document).only_graph()


def test_shares_that_were_not_measured_are_null(document):
    document["paths"]["share"] = None
    assert parse(document).paths.share is None


def test_without_experts_all_weights_are_0(document):
    for route in document["paths"]["routes"]:
        if route["top_k"] == 1:
            route |= {"top_k": 0, "gates": [[0.0] * 4] * 2}
    document["inputs"][1]["allowed"] = [0, 2]
    assert parse(document).paths.top_ks == (0, 2)


def route(index, **changes):
    return lambda d: d["paths"]["routes"][index].update(changes)


def top(**changes):
    return lambda d: d.update(changes)


def paths(**changes):
    return lambda d: d["paths"].update(changes)


def router_output(**changes):
    return lambda d: d["paths"]["router_output"].update(changes)


def control(**changes):
    return lambda d: d["inputs"][1].update(changes)


def gate(index, row, values):
    return lambda d: d["paths"]["routes"][index]["gates"].__setitem__(row, values)


def add_graph(d):
    d["graphs"].append({"name": "path3-k1", "file": "path0-k1.xml"})


def add_threshold(d):
    row = {"name": "weight_threshold", "dtype": "f32", "dims": ["B", 1], "role": "control"}
    d["inputs"].append(row | {"range": [0, 1], "default": 0.0})


def swap_routes(d):
    routes = d["paths"]["routes"]
    routes[1], routes[2] = routes[2], routes[1]


def without_output(role):
    return lambda d: d.update(outputs=[row for row in d["outputs"] if row["role"] != role])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(top(routing="normal"), "exactly if its routing is path", id="paths, other routing"),
        pytest.param(top(execution="sparse"), "execution dense", id="sparse"),
        pytest.param(top(mixture=[]), "execution dense, and mixture layers", id="no mixture"),
        pytest.param(paths(zz=1), "paths.zz: Extra inputs", id="unknown key"),
        pytest.param(lambda d: d["paths"].pop("share"), "paths.share: Field required", id="missing key"),
        pytest.param(lambda d: d["paths"]["routes"].pop(3), "path 1 at top_k 2 is missing", id="no route"),
        pytest.param(lambda d: d["paths"]["routes"].pop(), "path 2 at top_k 2 is missing", id="last route"),
        pytest.param(swap_routes, "routes: wrong order", id="top_k-major"),
        pytest.param(route(1, top_k=1), "path 0 at top_k 2 is missing", id="route twice"),
        pytest.param(route(5, path=3), "path 2 at top_k 2 is missing", id="a path too many"),
        pytest.param(route(0, path=-1), "paths.routes.0.path", id="path below 0"),
        pytest.param(route(0, gflops=-1), "paths.routes.0.gflops", id="compute below 0"),
        pytest.param(route(0, graph="path9"), "there is no graph 'path9'", id="unknown graph"),
        pytest.param(route(0, graph="path0-k2"), "'path0-k2' is used twice", id="graph twice"),
        pytest.param(paths(router="door"), "there is no graph 'door'", id="unknown router"),
        pytest.param(paths(router="path0-k1"), "'path0-k1' is used twice", id="router is a path"),
        pytest.param(add_graph, "no route uses the graph 'path3-k1'", id="unused graph"),
        pytest.param(gate(0, 0, [0.5, 0, 0, 0]), "top_k 1: gates row 0 sums to 0.5, not 1", id="half"),
        pytest.param(gate(0, 0, [0.998, 0, 0, 0]), "sums to 0.998, not 1", id="just outside"),
        pytest.param(gate(0, 0, [0.5, 0.5, 0, 0]), "top_k 1: gates row 0 chooses 2", id="too many experts"),
        pytest.param(gate(0, 1, [0, 0, 0, 1]), "gates row 1 has values after its 3 experts", id="padding"),
        pytest.param(gate(0, 1, [1, 0, 0]), "gates needs 2 rows of 4, not 2 rows of 3, 4", id="short row"),
        pytest.param(route(0, gates=[[1, 0, 0, 0]]), "gates needs 2 rows of 4, not 1 rows of 4", id="rows"),
        pytest.param(route(0, probs=[[0.5, 0, 0, 0]] * 2), "probs row 0 sums to 0.5", id="probabilities"),
        pytest.param(gate(0, 0, [2, -1, 0, 0]), "paths.routes.0.gates.0.0", id="weight over 1"),
        pytest.param(router_output(dims=["B", 4]), "path 3 at top_k 1 is missing", id="more paths"),
        pytest.param(router_output(dims=["B", 1]), "at least 2, not 1", id="one path"),
        pytest.param(router_output(dims=[1, 3]), "router_output.dims.0", id="fixed batch"),
        pytest.param(router_output(dims=["B", 3, 1]), "router_output.dims", id="three dims"),
        pytest.param(router_output(dtype="float16"), "router_output.dtype", id="dtype"),
        pytest.param(paths(share=[0.5, 0.5]), "share: has 2 entries for 3 paths", id="shares"),
        pytest.param(paths(share=[0.5, 0.5, 0.5]), "share: sums to 1.5, not 1", id="sum of shares"),
        pytest.param(control(allowed=[1, 2, 3]), r"top_k must allow \[1, 2\]", id="a value too many"),
        pytest.param(control(allowed=[2]), r"must allow \[1, 2\].*not \[2\]", id="a value too few"),
        pytest.param(control(name="k"), "the only control of a model with paths is top_k, not k", id="name"),
        pytest.param(add_threshold, "not top_k, weight_threshold", id="another control"),
        pytest.param(without_output("path_probs"), "no row has the role path_probs", id="no path_probs"),
        pytest.param(without_output("gates"), "no row has the role gates", id="no gates"),
        pytest.param(
            lambda d: d["outputs"][-1].update(dims=["B", 4]), r"path_probs must be \[B, 3\]", id="path_probs"
        ),
    ],
)
def test_contradictions_are_named(document, change, sentence):
    changed = copy.deepcopy(document)
    change(changed)
    with pytest.raises(ArtifactBroken, match=sentence):
        parse(changed)


def test_rounded_weights_are_accepted(document):
    document["paths"]["routes"][0]["gates"][0] = [0.9995, 0, 0, 0]
    assert parse(document)
