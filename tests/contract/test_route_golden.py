"""The service compares what the exporter records of each route, for every task and both selections."""

import json

import numpy as np
import pytest

from service.artifact.golden import load_golden
from service.artifact.manifest import parse_manifest
from service.artifact.repository import Artifact
from service.artifact.route_golden import read_route_answers
from service.errors import ArtifactMismatch
from tests.contract.test_path_manifest import routes
from tests.path_builders import NETWORKS, SKELETON, SUFFIXES
from training.export.artifact.manifest import Evidence, Identity, Provenance, build_manifest
from training.export.artifact.paths_entry import paths_entry
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import NUMPY_DTYPES
from training.export.graph.export_graph import graph_contract
from training.export.graph.fixed_path import Route
from training.export.proof.golden import Golden
from training.export.proof.parity import Parity
from training.export.proof.path_engine import PathEngine
from training.export.proof.route_golden import MOST_ROWS, MOST_VALUES, OF_NO_ROUTE, route_arrays
from training.models.classifier import Classifier
from training.models.cost import Cost
from training.models.variants import model_config

CANVAS = np.zeros((64, 64, 3), np.uint8)
CASES = [
    pytest.param((task, selection), id=f"{task}, {selection}")
    for task in SUFFIXES
    for selection in ("graph", "service")
    if (task, selection) != ("classify", "service")
]


class Planted:
    """A route's graph that returns the same random numbers for every image."""

    machine = "none"

    def __init__(self, contract, seed):
        draw = np.random.default_rng(seed)
        self.outputs = {}
        for each in contract.outputs:
            if each.role in OF_NO_ROUTE:
                continue
            if each.role == "class_ids":
                values = draw.integers(2, size=each.sizes)
            else:
                values = draw.random(each.sizes) * {"boxes_xyxy": 60, "scores": 0.5}.get(each.role, 1)
            self.outputs[each.name] = values[None].astype(NUMPY_DTYPES[each.dtype])

    def run(self, inputs):
        count = len(inputs["images"])
        return {name: np.repeat(array, count, axis=0) for name, array in self.outputs.items()}


@pytest.fixture(params=CASES)
def recorded(request, tmp_path):
    """Return the answers of the routes as the service reads them, and the graphs, by path and top_k."""
    task, selection = request.param
    skeleton = SKELETON if task == "pose" else None
    config = model_config(f"sparsight-path-n{SUFFIXES[task]}", ("disc", "ring"), (64, 64), skeleton=skeleton)
    spec = GraphSpec("dense", selection)
    contract = graph_contract(config, spec)
    graphs = {route.key: Planted(contract, seed) for seed, route in enumerate(routes())}
    engine = PathEngine(graphs[0, 1], routes(), lambda route: graphs[route.key])
    arrays = route_arrays(engine, contract, CANVAS)
    whole = {each.name: np.zeros((1, *each.sizes), NUMPY_DTYPES[each.dtype]) for each in contract.outputs}
    np.savez_compressed(tmp_path / "golden.npz", image=CANVAS, input=CANVAS[None], **whole, **arrays)
    network = NETWORKS.get(task, Classifier)(config)
    return arrays, graphs, answers_in(tmp_path, network, spec)


def answers_in(folder, network, spec):
    """Write a manifest beside golden.npz, and return the answers of the routes as the service reads them."""
    for name in ("router", *(route.name for route in routes())):
        (folder / f"{name}.onnx").write_bytes(b"")
    cost = Cost(5.0, dict.fromkeys(network.mixture_layers(), (0.25, 0.125, 0.25, 0.25)))
    layers = len(cost.experts)  # of classifiers fewer than of the others
    found = [Route(each.path, each.top_k, each.gates[:layers], each.probs[:layers]) for each in routes()]
    paths = paths_entry(found, cost, None)
    evidence = Evidence(Golden({}, {}, 0.01), Parity(8, 4, {}, {}, {}), cost, None, None, paths=paths)
    identity, form, files = Identity("tiny", "onnx", "1"), (spec, "f32"), sorted(folder.iterdir())
    manifest = build_manifest(identity, network, form, evidence, Provenance("0" * 64), files)
    artifact = Artifact(folder, parse_manifest(json.dumps(manifest).encode(), "manifest.json"), "")
    return read_route_answers(load_golden(artifact), artifact.manifest)


def test_the_service_accepts_the_graph_of_each_route_and_refuses_that_of_any_other(recorded):
    _, graphs, answers = recorded
    assert list(answers) == list(graphs)
    for key, answer in answers.items():
        for other, graph in graphs.items():
            outputs = graph.run({"images": CANVAS[None].repeat(2, axis=0)})
            if other == key:
                answer.check(outputs)
            else:
                with pytest.raises(ArtifactMismatch, match=f"path {key[0]} at top_k {key[1]}"):
                    answer.check(outputs)


def test_few_rows_and_values_are_stored(recorded):
    arrays, graphs, _ = recorded
    size = sum(array.nbytes for array in arrays.values()) / len(graphs)
    assert size < 8000  # of a segmenter; it depends on the numbers of classes and of keypoints
    if set(graphs[0, 1].outputs) == {"boxes", "scores", "class_ids"}:
        assert size == 32 * (4 + 16 + 4 + 4)
    for name, array in arrays.items():
        if name.endswith("_places"):
            assert array.size <= MOST_VALUES
        elif name == "routes_rows":
            assert array.shape == (16, MOST_ROWS)
        else:
            assert array.shape[:1] == (16,)


def test_a_change_of_one_stored_value_beyond_its_tolerance_is_noticed(recorded):
    _, graphs, answers = recorded
    answer, graph = answers[1, 2], graphs[1, 2]
    for name, array in graph.outputs.items():
        if name == "class_ids":
            continue
        whole = {one: values.copy() for one, values in graph.outputs.items()}
        # The best box; of probabilities and prototypes the first value, which is always stored.
        in_place = name in ("probabilities", "prototypes")
        place = (0,) * array.ndim if in_place else (0, answer.rows[0])
        whole[name][place] += 0.5
        with pytest.raises(ArtifactMismatch, match=r"path 1 at top_k 2"):
            answer.check(whole)
