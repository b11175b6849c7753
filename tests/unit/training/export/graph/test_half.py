"""Half precision: routers, boxes and scores stay in float32, and every cast is in the graph."""

import copy
import functools
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from tests.training_builders import conditioned, diverse_images
from tests.unit.training.export.engines import ENGINES, canvases, run_in
from tests.unit.training.export.rtx import builds_a_plan
from training.errors import ExportError
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import Eager, fold_batch_norm
from training.export.graph.half import InFloat32, half_precision
from training.export.graph.onnx_file import to_onnx
from training.export.proof.parity import measure_parity
from training.export.targets.targets import graph_spec
from training.models.variants import MixtureChoice, model_config

NAMES = ("yolov12-n", "esmoe-n", "modular-n", "ultra-n", "moehead-n")
SPEC = graph_spec("tensorrt", has_mixture=True)


PLACES = ("backbone.p3", "backbone.p5")


@functools.cache
def built(variant):
    """A conditioned model with the fewest blocks, and few experts."""
    choice = None if variant == "yolov12-n" else MixtureChoice(num_experts=2)
    return conditioned(replace(model_config(variant, ("disc", "ring"), (64, 64), choice), depth=0.25))


@functools.cache
def traced():
    """A model with attention, two mixtures and norms that cannot be folded, and its graph."""
    config = replace(built("esmoe-n").config, plain_stages=("neck.p3", "neck.p4", "neck.p5"))
    model = conditioned(replace(config, mixtures={place: config.mixtures[place] for place in PLACES}))
    return model, to_onnx(half_precision(model), SPEC)


@functools.cache
def types():
    """Element type of every value of the graph, as inference finds it from inputs and weights alone."""
    bare = onnx.ModelProto()
    bare.CopyFrom(traced()[1])
    bare.graph.ClearField("value_info")
    graph = onnx.shape_inference.infer_shapes(bare, strict_mode=True, check_type=True).graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return values | {weight.name: weight.data_type for weight in graph.initializer}


def kinds(operator):
    """Types that the first inputs of an operator's nodes have."""
    return {types()[node.input[0]] for node in traced()[1].graph.node if node.op_type == operator}


@pytest.mark.parametrize("variant", NAMES)
def test_routers_and_norms_and_anchors_keep_every_digit_and_the_rest_is_rounded(variant):
    model = built(variant)
    halved, folded = half_precision(model), fold_batch_norm(model)
    for name, weight in halved.named_parameters():
        kept = ".router." in name or ".norm." in name or "temperature" in name
        assert weight.dtype == (torch.float32 if kept else torch.float16), name
    for place, layer in folded.mixture_layers().items():
        after = halved.mixture_layers()[place].router.state_dict()
        for name, weight in layer.router.state_dict().items():
            assert torch.equal(weight, after[name]), name
    assert torch.equal(model.points, halved.points)
    assert torch.equal(model.strides, halved.strides)
    assert all(weight.dtype == torch.float32 for weight in model.parameters()), "the checkpoint stays"


@pytest.mark.parametrize("variant", NAMES)
def test_answers_are_float32_and_near_those_of_the_checkpoint(variant):
    model = built(variant)
    images = diverse_images(3)
    with torch.inference_mode():
        want, got = model(images), half_precision(model)(images)
        boxes, scores = half_precision(model).decode(got)
    assert got.box_logits.dtype == torch.float16
    assert boxes.dtype == scores.dtype == torch.float32
    assert (scores - want.class_logits.sigmoid()).abs().max() < 0.02
    assert (scores - want.class_logits.sigmoid()).abs().max() > 0, "as near as this is no half precision"
    for place, routing in got.routings.items():
        assert routing.gate.dtype == routing.logits.dtype == torch.float32
        assert (routing.probs - want.routings[place].probs).abs().max() < 0.02


def test_squares_beyond_half_precision_do_not_overflow_in_a_norm():
    """300² is more than the largest number of float16, 65504."""

    class RootMeanSquare(torch.nn.Module):
        def forward(self, x):
            return x / x.square().mean().sqrt()

    maps = torch.full((1, 2, 4, 4), 300.0, dtype=torch.float16)
    assert torch.equal(RootMeanSquare()(maps), torch.zeros_like(maps)), "else this shows nothing"
    assert torch.equal(InFloat32(RootMeanSquare())(maps), torch.ones_like(maps))
    norms = [m for m in half_precision(built("ultra-n")).modules() if isinstance(m, InFloat32)]
    assert len(norms) == 3 * (2 * 2 + 1), "of two experts and the shared one, in three layers"


@pytest.mark.heavy
def test_types_in_the_graph_are_explicit_and_right():
    model, proto = traced()
    onnx.checker.check_model(proto, full_check=True)
    assert kinds("Conv") == {TensorProto.FLOAT16}
    assert kinds("MatMul") == {TensorProto.FLOAT16}
    for operator in ("Gemm", "TopK", "BatchNormalization", "ReduceMean"):
        assert kinds(operator) == {TensorProto.FLOAT}, operator
    given = {value.name: value.type.tensor_type.elem_type for value in proto.graph.input}
    assert given == {
        "images": TensorProto.UINT8,
        "top_k": TensorProto.INT64,
        "weight_threshold": TensorProto.FLOAT,
    }
    answered = [value.type.tensor_type.elem_type for value in proto.graph.output]
    assert answered == [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32, *[TensorProto.FLOAT] * 2]
    softmax = [types()[node.input[0]] for node in proto.graph.node if node.op_type == "Softmax"]
    attention = sum(type(module).__name__ == "AreaAttention" for module in model.modules())
    assert softmax.count(TensorProto.FLOAT16) == attention > 0
    assert softmax.count(TensorProto.FLOAT) == len(PLACES) + 1, "of each router, and of the box sides"


@pytest.mark.heavy
def test_weights_are_stored_in_half_and_only_those_of_routers_in_full():
    _, proto = traced()
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        if ".conv." in weight.name or "branches" in weight.name:
            assert values.dtype == np.float16, weight.name
        if ".router." in weight.name:
            assert values.dtype == np.float32, weight.name
    sizes = dict.fromkeys((np.float16, np.float32), 0)
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype.type in sizes:
            sizes[values.dtype.type] += values.size
    assert sizes[np.float32] < 0.02 * sizes[np.float16]


@pytest.mark.heavy
def test_the_cast_of_the_image_is_all_that_reads_it():
    readers = [node.op_type for node in traced()[1].graph.node if "images" in node.input]
    assert readers == ["Cast"], "TensorRT knows no other operation on uint8"


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_run_it_within_the_tolerance_of_half_precision(engine, tmp_path):
    model, proto = traced()
    runs = run_in(engine, proto, tmp_path)
    parity = measure_parity(model, SPEC, runs, canvases(), [1, 2], tolerance=TOLERANCES["f16"])
    parity.check()
    assert parity.differences["scores"] > TOLERANCES["f32"].scores, "as near as this is no half precision"


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.*[Tt]iming cache:DeprecationWarning")  # TensorRT-RTX keeps none
def test_a_builder_of_tensorrt_takes_it_for_any_batch(tmp_path):
    builds_a_plan(traced()[1], tmp_path, batch=range(1, 9), precision="f16")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_folded_already_is_left_alone_when_it_is_traced(name):
    half = half_precision(built(name))
    again = fold_batch_norm(half)
    assert {key: value.dtype for key, value in again.state_dict().items()} == {
        key: value.dtype for key, value in half.state_dict().items()
    }


def test_maps_that_leave_the_range_of_float16_are_refused():
    model, spec = built("esmoe-n"), GraphSpec("dense", "graph")
    canvases = [image.numpy() for image in diverse_images(2)]
    measure_parity(
        model, spec, Eager(half_precision(model), spec), canvases, [2], tolerance=TOLERANCES["f16"]
    ).check()
    loud = copy.deepcopy(model)
    with torch.no_grad():
        loud.backbone.stem.bn.weight.mul_(1e6)
    rounded = measure_parity(
        loud, spec, Eager(half_precision(loud), spec), canvases, [2], tolerance=TOLERANCES["f16"]
    )
    with pytest.raises(ExportError, match="differ from the checkpoint by nan"):
        rounded.check()
