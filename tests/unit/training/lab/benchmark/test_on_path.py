"""A network with paths is timed as its router and the network of one route."""

from dataclasses import replace

import numpy as np
import onnx
import openvino as ov
import pytest
import torch

from tests.training_builders import conditioned
from training.export.contract.spec import GraphSpec
from training.lab.benchmark.graphs import Graphs
from training.lab.benchmark.on_path import RouteGraph, route_of_image, route_to_onnx, with_exported_router
from training.lab.benchmark.subjects import (
    Form,
    benchmark_canvas,
    checkpoint,
    forms,
    gflops,
    named_variant,
)
from training.models.mixture.routing import RoutingControls
from training.models.variants import MixtureChoice, model_config
from training.trainer.checkpoint import save_model

SPEC = GraphSpec("dense", "graph")
AVERAGED = MixtureChoice(expert="dynamic")


@pytest.fixture(scope="module")
def subject():
    return named_variant("sparsight-path-n", (64, 64), None)


def test_only_top_ks_with_routes_are_timed_and_batches_on_one_path(subject):
    assert subject.top_ks == (1, 2)
    found = forms(subject, (1, 4))
    sparse = {(each.top_k, each.batch) for each in found if each.kind == "sparse"}
    assert sparse == {(1, 1), (2, 1), (1, 4), (2, 4)}
    counted = gflops(subject)
    costs = [counted[Form(subject.label, "sparse", top_k)] for top_k in (1, 2)]
    assert costs[0] < costs[1] < counted[Form(subject.label, "dense")]


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_graph_answers_as_the_network_and_tells_the_path(subject, top_k, tmp_path):
    canvas = benchmark_canvas((64, 64))[None]
    images = torch.from_numpy(canvas)
    route = route_of_image(subject.model, canvas[0], top_k)
    with torch.inference_mode():
        predictions = subject.model(images, RoutingControls(top_k), "dense")
        _, scores = subject.model.decode(predictions)
        *_, probs = RouteGraph(subject.model, route, SPEC).eval()(images)
    torch.testing.assert_close(probs, predictions.path.probs)
    assert 0 < predictions.path.probs.max() < 1
    onnx.save(route_to_onnx(subject.model, route, SPEC), tmp_path / "route.onnx")
    compiled = ov.Core().compile_model(tmp_path / "route.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = compiled([canvas])
    np.testing.assert_allclose(outputs["path_probs"], predictions.path.probs.numpy(), atol=1e-5)
    found = np.sort(outputs["scores"][0])[::-1]  # of the best pairs of anchor and class
    best = scores[0].flatten().sort(descending=True).values[: len(found)]
    np.testing.assert_allclose(found, best.numpy(), atol=1e-4)
    assert found[0] > found[-1]


def test_the_other_forms_have_the_router_of_the_routes(subject, tmp_path):
    images = torch.from_numpy(benchmark_canvas((64, 64))[None])
    changed = with_exported_router(subject.model)
    with torch.inference_mode():
        got, wanted = (model(images, RoutingControls(2), "dense") for model in (changed, subject.model))
    torch.testing.assert_close(got.path.probs, wanted.path.probs, rtol=0, atol=1e-6)
    graphs = Graphs(tmp_path, {subject.label: subject}, {})
    for form in (Form(subject.label, "dense"), Form(subject.label, "bound", 1)):
        graph = ov.Core().read_model(graphs.source(form, "openvino", "f32"))
        assert "AvgPool" not in {node.get_type_name() for node in graph.get_ops()}


def test_averaged_experts_have_one_form_that_answers_as_the_network(tmp_path):
    usual = named_variant("sparsight-path-n", (64, 64), None)
    config = model_config("sparsight-path-n", usual.model.config.class_names, (64, 64), AVERAGED)
    model = conditioned(config)
    save_model(tmp_path / "averaged.safetensors", model, {})
    subject = checkpoint(tmp_path / "averaged.safetensors", None, None)
    dense = Form("averaged", "dense")
    assert forms(subject, (1, 4)) == [dense, Form("averaged", "twin"), replace(dense, batch=4)]
    assert gflops(subject)[dense] == pytest.approx(gflops(usual)[Form(usual.label, "sparse", 1)], rel=1e-3)
    graphs = Graphs(tmp_path, {subject.label: subject}, {})
    path = graphs.source(dense, "openvino", "f32")
    assert graphs.source(Form("averaged", "twin"), "openvino", "f32") == path
    outputs = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(graphs.inputs(dense))
    images = torch.from_numpy(benchmark_canvas((64, 64))[None])
    with torch.inference_mode():
        predictions = subject.model(images)
    np.testing.assert_allclose(outputs["path_probs"], predictions.path.probs.numpy(), atol=1e-5)
    _, scores = subject.model.decode(predictions)
    best = scores[0].flatten().sort(descending=True).values[: outputs["scores"].shape[1]]
    np.testing.assert_allclose(np.sort(outputs["scores"][0])[::-1], best.numpy(), atol=1e-4)
