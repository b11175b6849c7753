"""Static graphs for NPUs: nothing depends on data, and two engines give the checkpoint's answers."""

import functools
from dataclasses import replace

import onnx
import pytest
import torch

from tests.training_builders import conditioned, diverse_images, shallow
from tests.unit.training.export.engines import ENGINES, canvases, run_in
from training.config import PLAIN_PLACES, MixtureConfig
from training.errors import ExportError
from training.export.graph.onnx_file import STATIC_OPERATORS, to_onnx
from training.export.graph.shared_only import without_routed_experts
from training.export.proof.parity import measure_parity
from training.export.targets.targets import graph_spec
from training.models.mixture.routing import RoutingControls
from training.models.variants import MixtureChoice, model_config

NAMES = (
    "esmoe-n, half of its experts ghosts",
    "modular-n, ghost experts",
    "sparsight-n",
    "sparsight-n, shared experts alone",
)


def configured(name):
    """With the fewest blocks, two layers and two experts in each: every operator takes its time to trace."""
    variant, _, change = name.partition(", ")
    choice = MixtureChoice(num_experts=2, expert="ghost" if "ghost" in change else None)
    config = model_config(variant, ("disc", "ring"), (64, 64), choice)
    first, *_, last = config.mixtures
    kept = {place: config.mixtures[place] for place in (first, last)}
    config = replace(shallow(config), mixtures=kept)
    if variant == "modular-n":
        return replace(config, plain_stages=PLAIN_PLACES[2:])  # with attention
    if change.startswith("half"):
        own = model_config(variant, ("disc", "ring"), (64, 64), replace(choice, expert=None)).mixtures
        return replace(config, mixtures={**kept, first: own[first]})
    return config


@functools.cache
def built(name):
    """A model whose answers are worth comparing."""
    model = conditioned(configured(name))
    return without_routed_experts(model) if name.endswith("alone") else model


@functools.cache
def traced(name):
    """The graph for NPUs; one trace for all of its tests."""
    model = built(name)
    return to_onnx(model, graph_spec("npu", has_mixture=bool(model.mixture_layers())))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.heavy
def test_the_graph_holds_only_what_an_npu_can_do(name):
    proto = traced(name)
    onnx.checker.check_model(proto, full_check=True)
    assert [opset.version >= 13 for opset in proto.opset_import] == [True]
    assert not proto.functions
    for node in proto.graph.node:
        assert node.op_type in STATIC_OPERATORS, node.name
        assert not any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute), node.name


@pytest.mark.heavy
def test_every_size_in_the_graph_is_known_beforehand(name):
    bare = onnx.ModelProto()
    bare.CopyFrom(traced(name))
    bare.graph.ClearField("value_info")  # what the exporter says of them; they must follow from the inputs
    graph = onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True).graph
    sizes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    for node in graph.node:
        for output in node.output:
            assert output in sizes, f"{output} of {node.op_type} has no shape"
            assert all(size > 0 for size in sizes[output]), f"{output} of {node.op_type} is {sizes[output]}"


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
def test_the_graph_equals_the_checkpoint_with_one_expert_and_with_all(name, engine, tmp_path):
    model, proto = built(name), traced(name)
    spec = graph_spec("npu", has_mixture=bool(model.mixture_layers()))
    top_ks = sorted({1, model.config.allowed_top_k[-1]})
    parity = measure_parity(model, spec, run_in(engine, proto, tmp_path), canvases(), top_ks)
    parity.check()
    assert parity.distinct_expert_sets > len(top_ks) or not model.mixture_layers(), (
        "the images must route differently"
    )


def test_shared_experts_alone_are_the_model_at_top_k_0():
    activated = MixtureConfig(num_experts=2, kernel_sizes=(3, 5), shared_kernel=3)
    sparsight = configured("sparsight-n")
    in_neck = replace(sparsight, mixtures=dict.fromkeys(("backbone.p2", "neck.p3", "neck.p5"), activated))
    images = diverse_images(3)
    for config in (sparsight, in_neck):
        model = conditioned(config)
        alone = without_routed_experts(model)
        with torch.inference_mode():
            want, one = model(images, RoutingControls(0)), model(images, RoutingControls(1))
            got = alone(images)
        torch.testing.assert_close(got.class_logits, want.class_logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got.box_logits, want.box_logits, rtol=1e-4, atol=1e-5)
        assert (one.class_logits - want.class_logits).abs().max() > 1e-2, "else this compares nothing"


def test_shared_experts_alone_are_a_model_without_mixtures_and_leave_the_checkpoint_as_it_was():
    model = built("sparsight-n")
    before = set(model.state_dict())
    alone = without_routed_experts(model)
    assert (alone.mixture_layers(), alone.config.mixtures, alone.config.top_k) == ({}, {}, 1)
    assert not [name for name in alone.state_dict() if "router" in name or "experts" in name]
    assert not alone(diverse_images(1)).routings
    assert set(model.state_dict()) == before
    assert len(model.mixture_layers()) == 2


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("yolov12-n", "^yolov12-n: there is no shared expert"),
        ("esmoe-n", "^backbone.p2, backbone.p3, backbone.p4, backbone.p5 of esmoe-n: there is no shared"),
        ("moehead-n", "^head.p3, head.p4, head.p5 of moehead-n"),
    ],
)
def test_a_model_without_shared_experts_is_refused(variant, message):
    model = conditioned(model_config(variant, ("disc", "ring"), (64, 64)))
    with pytest.raises(ExportError, match=message):
        without_routed_experts(model)
