"""A network of a structure that was traced before gets the graph with its own weights."""

import copy

import numpy as np
import pytest
import torch

from tests.path_builders import path_model
from tests.unit.training.export.engines import canvases, openvino
from training.export.contract.spec import GraphSpec
from training.export.graph import sibling
from training.export.graph.export_graph import Eager
from training.export.graph.fixed_path import fixed_network, routes_of
from training.export.graph.half import half_precision
from training.models.mixture.routing import RoutingControls

SPEC = GraphSpec("dense", "service")


@pytest.fixture
def traces(monkeypatch):
    """Return the list of the networks that were traced, not copied."""
    seen, trace = [], sibling.to_onnx

    def counted(model, spec):
        seen.append(model)
        return trace(model, spec)

    monkeypatch.setattr(sibling, "to_onnx", counted)
    return seen


@pytest.mark.heavy
def test_routes_with_as_many_experts_are_traced_once_and_each_graph_has_its_own_weights(traces, tmp_path):
    model, tracer = path_model("classify"), sibling.SiblingTracer()
    for route in routes_of(model):
        network = fixed_network(model, route)
        engine = openvino(tracer(network, SPEC), tmp_path)
        wanted = Eager(network, SPEC).answer(canvases(1)[0], RoutingControls(1))
        got = engine.run({"images": canvases(1)[0][None]})
        assert np.allclose(wanted["probabilities"], got["probabilities"], atol=1e-4)
    assert len(traces) == 2, "one for each top_k"


@pytest.mark.heavy
def test_another_structure_precision_or_form_is_traced_anew(traces):
    model, tracer = path_model("classify"), sibling.SiblingTracer()
    one, two = (fixed_network(model, route) for route in routes_of(model)[:2])
    tracer(one, SPEC)
    tracer(two, SPEC)
    tracer(half_precision(one), SPEC)
    assert len(traces) == 3


def test_a_weight_that_the_graph_does_not_name_is_not_replaced():
    before = {"score.weight": torch.zeros(2)}
    after = copy.deepcopy(before)
    proto = sibling.onnx.ModelProto()
    assert sibling.with_weights(proto, before, after) == proto
    assert sibling.with_weights(proto, before, {"score.weight": torch.ones(2)}) is None
    assert sibling.with_weights(proto, before, {"score.weight": torch.zeros(3)}) is None
