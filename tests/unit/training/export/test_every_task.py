"""Graphs of segmenters, pose networks and detectors of oriented boxes equal the checkpoint, and skip."""

import asyncio
import functools
import math
from dataclasses import replace

import numpy as np
import onnx
import openvino as ov
import pytest

from service.artifact.repository import read_artifact
from tests.training_builders import reference_outputs, shaped_model
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, tinted_scenes
from tests.unit.training.export.engines import ENGINES, poisoned, run_in
from tests.unit.training.export.test_every_variant import replay
from tests.unit.training.export.test_proof import weight_names
from training.data.images.letterbox import letterbox_image
from training.errors import ExportError
from training.export.artifact import bundle
from training.export.contract.precision import TOLERANCES, Tolerance
from training.export.contract.spec import GraphSpec
from training.export.graph.branch_weights import move_weights_into_branches
from training.export.graph.export_graph import Eager, graph_contract
from training.export.graph.half import half_precision
from training.export.graph.onnx_file import STATIC_OPERATORS, TENSORRT_OPERATORS, to_onnx
from training.export.proof.census import check_ports, skippable_experts
from training.export.proof.openvino_engine import OpenVinoEngine, cpu_capabilities
from training.export.proof.parity import measure_parity
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.export.targets.targets import graph_spec
from training.models.mixture.routing import RoutingControls

pytestmark = pytest.mark.heavy

TASKS = ("segment", "pose", "obb")
EXPERTS = 8  # of four layers


@functools.cache
def model(task):
    return shaped_model(task)


@functools.cache
def traced(task, target):
    return to_onnx(model(task), graph_spec(target, has_mixture=True))


def canvases():
    return [letterbox_image(image, (64, 64))[0] for image in tinted_scenes()]


def contested(task):
    """A layer's row, its name, and an expert that only some images choose."""
    spec = GraphSpec("dense", "graph")
    answers = [
        reference_outputs(model(task), spec, each, RoutingControls(1))["gates"][0] for each in canvases()
    ]
    share = (np.stack(answers) > 0).mean(axis=0)  # (L, E)
    row, expert = np.argwhere((share > 0) & (share < 1))[0]
    return int(row), list(model(task).mixture_layers())[row], int(expert)


def equal_to(task, engine, canvas):
    spec = graph_spec("openvino", has_mixture=True)
    try:
        measure_parity(model(task), spec, engine, [canvas], [1]).check()
    except ExportError:
        return False
    return True


@pytest.mark.parametrize("task", TASKS)
def test_the_sparse_graph_equals_the_checkpoint_and_can_skip_every_expert(task, tmp_path):
    proto, spec = traced(task, "openvino"), graph_spec("openvino", has_mixture=True)
    assert skippable_experts(proto.SerializeToString()) == EXPERTS
    engine = run_in("OpenVINO", proto, tmp_path)
    check_ports(tmp_path / "model.onnx", graph_contract(model(task).config, spec))
    parity = measure_parity(model(task), spec, engine, canvases(), [1, 2])
    parity.check()
    assert parity.compared_boxes > 100
    assert parity.distinct_expert_sets > 2, "the images must route differently"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_no_number_of_an_expert_that_is_not_chosen_reaches_the_outputs(task, engine, tmp_path):
    """Of an expert with NaN in all weights, images that choose it know, and no others."""
    row, place, expert = contested(task)
    spoilt = poisoned(traced(task, "openvino"), place, expert)
    if engine == "ONNX Runtime":
        move_weights_into_branches(spoilt)  # as target onnx does
    running, spec = run_in(engine, spoilt, tmp_path), graph_spec("openvino", has_mixture=True)
    contract, chosen = graph_contract(model(task).config, spec), set()
    for canvas in canvases():
        want = reference_outputs(model(task), spec, canvas, RoutingControls(1))
        runs = bool(want["gates"][0, row, expert] > 0)
        got = running.run(contract.feed([canvas], [RoutingControls(1)]))
        finite = all(np.isfinite(values).all() for values in got.values())
        assert finite == equal_to(task, running, canvas) == (not runs)
        chosen.add(runs)
    assert chosen == {False, True}


@pytest.mark.parametrize("target", ["npu", "tensorrt", "onnx"])
@pytest.mark.parametrize("task", TASKS)
def test_every_target_s_graph_equals_the_checkpoint(task, target, tmp_path):
    spec = graph_spec(target, has_mixture=True)
    if target == "onnx":
        spec = replace(spec, execution="dense")
        proto = to_onnx(model(task), spec)
    else:
        proto = traced(task, target)
        known = STATIC_OPERATORS if target == "npu" else TENSORRT_OPERATORS
        assert {node.op_type for node in proto.graph.node} <= known
    engine = run_in("ONNX Runtime" if target == "onnx" else "OpenVINO", proto, tmp_path)
    parity = measure_parity(model(task), spec, engine, canvases(), [1, 2])
    parity.check()
    assert parity.compared_boxes > 100


@pytest.mark.parametrize("task", TASKS)
def test_a_wrong_extra_is_refused(task, tmp_path):
    """A graph whose boxes and scores are right and whose masks, keypoints or angles are not."""
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(traced(task, "npu"))
    part = {"segment": "masks.coefficients", "pose": "keypoints", "obb": "angles"}[task]
    biases = [
        each
        for each in spoilt.graph.initializer
        if each.name.startswith(f"model.{part}.levels.0.") and each.name.endswith(".bias")
    ]
    last = max(biases, key=lambda each: each.name)
    last.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(last) + np.float32(0.5), last.name))
    name = {"segment": "mask_coefficients|masks", "pose": "keypoints|visibilities", "obb": "angles"}[task]
    engine, spec = run_in("OpenVINO", spoilt, tmp_path), graph_spec("npu", has_mixture=True)
    parity = measure_parity(model(task), spec, engine, canvases()[:2], [1])
    with pytest.raises(ExportError, match=f"^({name}) of the exported graph differ"):
        parity.check()
    if task == "segment":
        assert parity.excess["masks"] > parity.allowed["masks"]


@pytest.mark.parametrize("task", TASKS)
def test_half_precision_keeps_to_its_tolerance(task, tmp_path):
    spec, tolerance = replace(graph_spec("tensorrt", has_mixture=True), max_batch=1), TOLERANCES["f16"]
    halved = Eager(half_precision(model(task)), spec)
    parity = measure_parity(model(task), spec, halved, canvases()[:4], [1], tolerance=tolerance)
    parity.check()
    proto = to_onnx(half_precision(model(task)), spec)
    onnx.save(proto, tmp_path / "half.onnx")
    check_ports(tmp_path / "half.onnx", graph_contract(model(task).config, spec))
    exact = measure_parity(
        model(task), spec, OpenVinoEngine(tmp_path / "half.onnx"), canvases()[:4], [1], tolerance=tolerance
    )
    exact.check()


# Rounding moves an untrained model far more than a trained one: its masks, above all, are noise around 0.
LOOSE = Tolerance(
    boxes_px=64,
    boxes_relative=0,
    scores=0.5,
    masks=1,
    mask_parts=8,
    keypoints_px=64,
    angles=math.pi,
    gates=1,
    expert_sets=0,
)


def in_fewer_bits(task, precision, folder, monkeypatch):
    """Return the folder of a sparse artifact for OpenVINO."""
    monkeypatch.setattr(bundle, "TOLERANCES", {precision: LOOSE})
    images = tinted_scenes()
    (exported,) = bundle.export_model(
        model(task),
        folder,
        task,
        ExportImages(images, images, images),
        targets=["openvino"],
        options=ExportOptions(precision=precision, execution="sparse"),
        provenance=PROVENANCE,
    )
    differences = exported.parity.differences
    assert differences["boxes_xyxy"] > 1e-2, "this near to float32 it was computed in float32"
    asyncio.run(replay(read_artifact(exported.path)))
    return exported.path


@pytest.mark.parametrize("task", TASKS)
def test_in_8_bit_the_last_convolutions_stay_float_and_the_prototypes_are_quantised(
    task, tmp_path, monkeypatch
):
    path = in_fewer_bits(task, "int8", tmp_path, monkeypatch)
    assert skippable_experts(path / "model.xml") == EXPERTS
    own = {"segment": "model.masks.", "pose": "model.keypoints.", "obb": "model.angles."}[task]
    initializers = traced(task, "openvino").graph.initializer
    kernels = {each.name for each in initializers if len(each.dims) == 4}
    every = {name for name in kernels if name.startswith(own)}
    floats = set()
    for node in ov.Core().read_model(path / "model.xml").get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "ConvolutionBackpropData"):
            kinds = {value.get_node().get_type_name() for value in node.input_values()}
            if "FakeQuantize" not in kinds:  # the weights of others have new names
                floats |= weight_names(node.input_value(1).get_node())
    in_8_bit = {name.removeprefix(own).removesuffix(".conv.weight") for name in every - floats}
    assert in_8_bit == ({"prototypes.enter", "prototypes.refine"} if task == "segment" else set())
    assert len(every) > 6
    stages = [{name for name in kernels if name.startswith(f"model.backbone.p{stage}.")} for stage in (2, 3)]
    assert min(map(len, stages)) > 4
    assert stages[0] <= floats, "a graph with p2 in 8 bit changes the experts of too many images"
    assert not stages[1] & floats


@pytest.mark.parametrize("task", TASKS)
def test_in_bf16_it_is_served_as_it_was_proved(task, tmp_path, monkeypatch):
    if "BF16" not in cpu_capabilities():
        pytest.skip("this CPU does not compute in bf16")
    path = in_fewer_bits(task, "bf16", tmp_path, monkeypatch)
    assert skippable_experts(path / "model.xml") == EXPERTS
