"""The network of a route equals the network with paths for images on the path, and has no other parts."""

import copy
from dataclasses import replace

import onnx
import pytest
import torch

from tests.path_builders import path_model
from tests.training_builders import conditioned, diverse_images
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import ExportGraph
from training.export.graph.fixed_path import fixed_network, one_hot, routes_of
from training.export.graph.path_router import PathGraph, Thumbnail, router_to_onnx
from training.models.cost import measure_cost
from training.models.mixture.routing import RoutingControls

SPEC = GraphSpec("dense", "service")  # every anchor, so that outputs have an order


def forced(model, images, route):
    """Return the task's outputs of a network for images that are sent on a path."""
    path = one_hot(route.path, model.config.paths.count).expand(len(images), -1)
    graph = ExportGraph(model, SPEC)
    with torch.inference_mode():
        predictions = model(images, RoutingControls(route.top_k, path=path))
        return graph.task.outputs(model, predictions, SPEC), predictions.routings


@pytest.mark.parametrize("task", ["detect", "classify", "segment", "pose", "obb"])
def test_every_route_equals_the_network_on_its_path_to_rounding(task):
    model, images = path_model(task), diverse_images(3)
    routes = routes_of(model)
    assert [route.name for route in routes] == [f"path{p}-k{k}" for p in range(3) for k in (1, 2)]
    seen = []
    for route in routes:
        wanted, routings = forced(model, images, route)
        for row, routing in enumerate(routings.values()):
            assert torch.equal(routing.gate[0], torch.from_numpy(route.gates[row]))
            assert torch.equal(routing.probs[0], torch.from_numpy(route.probs[row]))
        fixed = fixed_network(model, route)
        assert not fixed.config.mixtures
        assert not fixed.mixture_layers()
        with torch.inference_mode():
            got = ExportGraph(fixed, SPEC)(images)
        assert len(got) == len(wanted)
        for one, other in zip(wanted, got, strict=True):
            rounding = 1e-3 if one.dtype == torch.float16 else 1e-4
            assert torch.allclose(one.float(), other.float(), rtol=rounding, atol=1e-4)
        seen.append(wanted[-1])
    assert not any(torch.allclose(seen[0], other, rtol=1e-3, atol=1e-3) for other in seen[1:])


@pytest.mark.parametrize("task", ["detect", "classify", "segment", "pose", "obb"])
def test_the_route_of_averaged_experts_equals_the_network_on_its_path_to_rounding(task):
    model, images = path_model(task, expert="dynamic"), diverse_images(3)
    routes, seen = routes_of(model), []
    assert [route.name for route in routes] == [f"path{p}-k4" for p in range(3)]
    chosen = path_model(task)
    cost = measure_cost(fixed_network(chosen, routes_of(chosen)[0])).dense  # with one expert
    for route in routes:
        wanted, routings = forced(model, images, route)
        for row, routing in enumerate(routings.values()):
            torch.testing.assert_close(routing.gate[0], torch.from_numpy(route.gates[row]))
        fixed = fixed_network(model, route)
        with torch.inference_mode():
            got = ExportGraph(fixed, SPEC)(images)
        for one, other in zip(wanted, got, strict=True):
            rounding = 1e-3 if one.dtype == torch.float16 else 1e-4
            assert torch.allclose(one.float(), other.float(), rtol=rounding, atol=1e-4)
        seen.append(wanted[-1])
        assert measure_cost(fixed).dense == pytest.approx(cost, rel=1e-9)
    assert not any(torch.allclose(seen[0], other, rtol=1e-3, atol=1e-3) for other in seen[1:])


@pytest.mark.parametrize("expert", [None, "dynamic"])
def test_a_route_takes_the_operations_of_its_experts_and_no_others(expert):
    model = path_model(expert=expert)
    cost = measure_cost(model)
    with_router = measure_cost(replace_router(model))
    for route in routes_of(model):
        used = sum(
            gflops
            for row, layer in enumerate(cost.experts.values())
            for gflops, gate in zip(layer, route.gates[row], strict=True)
            if gate > 0
        )
        fixed = measure_cost(fixed_network(model, route)).dense
        assert fixed == pytest.approx(with_router.fixed + used, rel=1e-5)


def replace_router(model):
    """Return the model without the operations of its path router, as on a forced path."""
    free = copy.copy(model)
    free._modules = dict(model._modules)
    path = one_hot(0, model.config.paths.count)
    top_k = model.config.top_k
    free.forward = lambda images, dispatch: model(images, RoutingControls(top_k, path=path), dispatch)
    return free


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_sizes": (3, 5, 3, 5)},
        {"expert": "depthwise"},
        {"expert": "ghost"},
        {"norm": "group"},
        {"expert": "dynamic", "top_k": 4, "norm": "group"},
        {"activate": True},
        {"gate_epsilon": 0.1, "residual": False, "shared_kernel": None},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_mixture_layers_of_every_form_are_computed(changes):
    config = path_model().config
    mixtures = {place: replace(each, **changes) for place, each in config.mixtures.items()}
    model, images = conditioned(replace(config, mixtures=mixtures)), diverse_images(2)
    for route in routes_of(model)[:2]:
        wanted, _ = forced(model, images, route)
        with torch.inference_mode():
            got = ExportGraph(fixed_network(model, route), SPEC)(images)
        for one, other in zip(wanted, got, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=2e-4)


def test_an_expert_with_nan_spoils_the_routes_that_hold_it_and_no_others():
    model, images = path_model(), diverse_images(2)
    place = "backbone.p4"
    row = list(model.mixture_layers()).index(place)
    spoilt = copy.deepcopy(model)
    spoilt.mixture_layers()[place].experts[1].expand.conv.weight.data.fill_(float("nan"))
    held = set()
    for route in routes_of(spoilt):
        holds = bool(route.gates[row, 1] > 0)
        with torch.inference_mode():
            got = ExportGraph(fixed_network(spoilt, route), SPEC)(images)
        assert all(bool(each.isfinite().all()) for each in got) == (not holds)
        held.add(holds)
    assert held == {False, True}
    assert torch.equal(PathGraph(spoilt)(images), PathGraph(model)(images))


def test_the_router_graph_gives_the_probabilities_of_the_network_and_nothing_else():
    model, images = path_model(), diverse_images(16)
    with torch.inference_mode():
        wanted = model(images).path.probs
        got = PathGraph(model)(images)
    assert torch.allclose(wanted, got, atol=1e-6)
    assert len(got.argmax(dim=1).unique()) == 3, "the images must take every path"
    assert not any("experts" in name for name, _ in PathGraph(model).named_parameters())


@pytest.mark.parametrize("side", [1, 2, 8, 32])
def test_a_thumbnail_holds_the_exact_means_of_squares(side):
    images = torch.randint(256, (2, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[1] = 255
    squares = images.double().unfold(1, side, side).unfold(2, side, side).mean(dim=(-2, -1))
    got = Thumbnail(side)(images)
    assert torch.equal(got, (squares.float() / 255).permute(0, 3, 1, 2))
    assert torch.equal(got[1], torch.ones(3, 64 // side, 96 // side))


def test_the_router_graph_rearranges_no_more_than_the_thumbnail():
    for spec in (GraphSpec("dense", "service"), GraphSpec("dense", "graph", max_batch=8)):
        proto = onnx.shape_inference.infer_shapes(router_to_onnx(path_model(), spec))
        operators = [node.op_type for node in proto.graph.node]
        assert "AveragePool" not in operators
        shapes = {value.name: value.type.tensor_type.shape.dim for value in proto.graph.value_info}
        (turned,) = (node for node in proto.graph.node if node.op_type == "Transpose")
        assert [size.dim_value for size in shapes[turned.output[0]]][1:] == [3, 8, 8]
