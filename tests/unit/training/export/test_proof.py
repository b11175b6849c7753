"""The checks before a release: faulty graphs are refused, and each graph has its stated precision."""

import functools
import json
import re
from dataclasses import replace

import numpy as np
import onnx
import openvino as ov
import openvino.opset15 as opset
import pytest
from onnx import numpy_helper

from tests.training_builders import conditioned, plain_model, reference_outputs
from tests.unit.training.export.artifact.test_bundle import PROVENANCE, SPARSE, tinted_scenes
from tests.unit.training.export.engines import ask
from tests.unit.training.messages import collecting
from training.config import PLAIN_PLACES
from training.data.images.letterbox import letterbox_image
from training.errors import ExportError
from training.export.artifact import bundle
from training.export.artifact.bundle import export_model
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.graph.int8 import FLOAT_PARTS, quantize_dense, quantize_like, save_over
from training.export.graph.onnx_file import to_onnx
from training.export.proof.census import branches
from training.export.proof.openvino_engine import OpenVinoEngine, cpu_capabilities, save_openvino
from training.export.targets import build
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.models.mixture.routing import RoutingControls

PLACE, EXPERT = "p3", 0
EXPERTS = 8  # of four layers


@functools.cache
def model():
    """With attention in one stage, which stays in float."""
    return conditioned(replace(plain_model().config, plain_stages=PLAIN_PLACES[1:]))


@functools.cache
def traced(execution):
    """One trace for all tests; skipping expert by expert, which every precision can follow."""
    return to_onnx(model(), GraphSpec(execution, "graph", branches="per_expert"))


def canvases():
    return [letterbox_image(image, (64, 64))[0] for image in tinted_scenes()]


def samples():
    contract = graph_contract(model().config, GraphSpec("dense", "graph"))
    return [contract.feed([canvas], [RoutingControls(1)]) for canvas in canvases()]


def weight(proto, name):
    (found,) = (each for each in proto.graph.initializer if each.name == name)
    return found


def put(tensor, values):
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def permute_an_expert(proto):
    tensor = weight(proto, f"model.backbone.mixtures.{PLACE}.experts.{EXPERT}.conv.weight")
    put(tensor, numpy_helper.to_array(tensor)[::-1])


def never_run_an_expert(proto):
    freeze_a_branch(proto, False)


def always_run_an_expert(proto):
    freeze_a_branch(proto, True)


def freeze_a_branch(proto, runs):
    """As tracing does with a condition that it takes for a number."""
    proto.graph.initializer.append(numpy_helper.from_array(np.array(runs), "frozen"))
    next(node for node in proto.graph.node if node.op_type == "If").input[0] = "frozen"


def route_as_the_first_image(proto):
    """As tracing does with a gate that it takes for a number."""
    prefix = f"model.backbone.mixtures.{PLACE}.router.score"
    seen = reference_outputs(model(), GraphSpec("dense", "graph"), canvases()[0], RoutingControls(1))
    row = list(model().mixture_layers()).index(f"backbone.{PLACE}")
    scores = weight(proto, f"{prefix}.weight")
    put(scores, np.zeros_like(numpy_helper.to_array(scores)))
    bias = weight(proto, f"{prefix}.bias")
    put(bias, np.log(seen["router_probs"][0, row]).reshape(numpy_helper.to_array(bias).shape))


def export(monkeypatch, repository, options, change=lambda proto: None):
    def changed(_, spec):
        proto = onnx.ModelProto()
        proto.CopyFrom(traced(spec.execution))
        change(proto)
        return proto

    monkeypatch.setattr(build, "to_onnx", changed)
    (exported,) = export_model(
        model(),
        repository,
        "tiny",
        ExportImages(tinted_scenes(), tinted_scenes()),
        targets=["openvino"],
        options=options,
        provenance=PROVENANCE,
    )
    return exported, json.loads((exported.path / "manifest.json").read_text())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (permute_an_expert, r"exported graph (chooses|differ from) the checkpoint"),
        (route_as_the_first_image, r"exported graph chooses the checkpoint's experts in"),
        (never_run_an_expert, "does not depend on the image"),
        (always_run_an_expert, "does not depend on the image"),
    ],
)
def test_a_planted_fault_is_refused_and_the_repository_stays_as_it_was(
    fault, sentence, tmp_path, monkeypatch
):
    (tmp_path / "tiny-openvino" / "1").mkdir(parents=True)
    (tmp_path / "tiny-openvino" / "config.pbtxt").write_text("as it was")
    with pytest.raises(ExportError, match=sentence):
        export(monkeypatch, tmp_path, SPARSE, fault)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "tiny-openvino",
        "tiny-openvino/1",
        "tiny-openvino/config.pbtxt",
    ]


@pytest.mark.heavy
def test_left_to_itself_the_export_times_both_executions_and_ships_the_one_it_names(tmp_path, monkeypatch):
    with collecting() as said:
        exported, manifest = export(monkeypatch, tmp_path, ExportOptions())
    speed = manifest["speed"]
    execution = "sparse" if speed["sparse_to_dense"] <= 0.97 else "dense"
    assert manifest["execution"] == execution
    assert manifest["parity"]["skippable_experts"] == (EXPERTS if execution == "sparse" else 0)
    assert sorted(path.name for path in exported.path.iterdir()) == [
        "golden.npz",
        "manifest.json",
        "model.bin",
        "model.xml",
    ]
    (line,) = (line for line in said if f"{execution} is chosen" in line)
    for number in (speed["sparse_ms"], speed["dense_ms"]):
        assert f"{number:.3g} ms" in line
    graph = ov.Core().read_model(exported.path / "model.xml")
    assert len(list(branches(graph))) == (EXPERTS if execution == "sparse" else 0)


@pytest.mark.heavy
def test_bf16_is_proved_in_bf16_or_refused_where_the_processor_lacks_it(tmp_path, monkeypatch):
    # Rounding moves an untrained model far more than a trained one.
    monkeypatch.setattr(bundle, "TOLERANCES", {"bf16": Tolerance(64, 0, 0.3, 1, expert_sets=0)})
    options = ExportOptions(precision="bf16", execution="sparse")
    if "BF16" not in cpu_capabilities():
        with pytest.raises(ExportError, match="this CPU does not compute in bf16"):
            export(monkeypatch, tmp_path, options)
        return
    exported, manifest = export(monkeypatch, tmp_path, options)
    assert (manifest["precision"], manifest["execution"]) == ("bf16", "sparse")
    assert exported.parity.differences["gates"] > 1e-4, "bf16 this near to float32 was computed in float32"


@pytest.fixture(scope="module")
def in_8_bit(tmp_path_factory):
    """The sparse graph in 8 bit."""
    folder = tmp_path_factory.mktemp("int8")
    sparse, dense = folder / "sparse.xml", folder / "dense.xml"
    for path in (sparse, dense):
        onnx.save(traced(path.stem), path.with_suffix(".onnx"))
        save_openvino(path.with_suffix(".onnx"), path)
    quantized = quantize_dense(dense, samples())
    save_over(quantize_like(quantized, dense, sparse), sparse)
    return sparse


def weight_names(node):
    """The constants that something is computed of, and of nothing else."""
    found, todo = set(), [node]
    while todo:
        each = todo.pop()
        if each.get_type_name() == "Constant":
            found.add(each.get_friendly_name())
        elif each.get_type_name() in ("Convert", "FakeQuantize", "Multiply", "Reshape", "Subtract"):
            todo += [value.get_node() for value in each.input_values()]
    return found


@pytest.mark.heavy
def test_in_8_bit_every_expert_can_still_be_skipped_and_is_quantised_and_what_decides_is_float(in_8_bit):
    graph = ov.Core().read_model(in_8_bit)
    found = list(branches(graph))
    assert len(found) == EXPERTS
    for branch in found:
        computing, idle = (
            {node.get_type_name() for node in branch.get_function(body).get_ops()} for body in range(2)
        )
        assert {"Convolution", "FakeQuantize"} <= computing
        assert "Convolution" not in idle
    counted = {True: 0, False: 0}
    for node in graph.get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            names = weight_names(node.input_value(1).get_node())
            kinds = {value.get_node().get_type_name() for value in node.input_values()}
            decides = any(part in name for name in names for part in FLOAT_PARTS)
            assert not (decides and "FakeQuantize" in kinds), names
            counted["FakeQuantize" in kinds] += 1
    assert min(counted.values()) > 10


def whose(branch):
    """The row of a branch's layer, and its expert, by the names of its weights."""
    names = (node.get_friendly_name() for node in branch.get_function(0).get_ops())
    found = re.search(r"mixtures\.(p\d)\.experts\.(\d+)\.", " ".join(names))
    assert found
    place, expert = found.groups()
    return list(model().mixture_layers()).index(f"backbone.{place}"), int(expert)


@pytest.mark.heavy
def test_in_8_bit_a_poisoned_expert_spoils_only_the_images_that_choose_it(in_8_bit, tmp_path):
    graph = ov.Core().read_model(in_8_bit)
    clean, chosen = OpenVinoEngine(in_8_bit), None
    gates = [ask(clean, [canvas], [RoutingControls(1)])["gates"][0] for canvas in canvases()]
    for branch in branches(graph):
        row, expert = whose(branch)
        runs = [gate[row, expert] > 0 for gate in gates]
        if 0 < sum(runs) < len(runs):
            chosen = runs
            (result,) = branch.get_function(0).get_results()
            # Not by NaN: 8 bit have none.
            spoilt = opset.multiply(result.input_value(0), np.float32(-1000))
            result.input(0).replace_source_output(spoilt.output(0))
            break
    assert chosen is not None
    ov.save_model(graph, tmp_path / "model.xml", compress_to_fp16=False)
    poisoned = OpenVinoEngine(tmp_path / "model.xml")
    for canvas, runs in zip(canvases(), chosen, strict=True):
        answers = (ask(engine, [canvas], [RoutingControls(1)]) for engine in (clean, poisoned))
        want, got = (answer["scores"] for answer in answers)
        assert np.array_equal(want, got) != runs


def test_ranges_of_8_bit_hold_what_a_single_image_shows(tmp_path):
    """Two convolutions that pass their input on: what enters the second is between 0 and the brightest."""
    image = opset.parameter([1, 8, 8, 3], np.uint8, name="images")
    image.output(0).set_names({"images"})
    x = opset.transpose(opset.convert(image, "f32"), [0, 3, 1, 2])
    for _ in range(2):
        one = opset.constant(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1))
        x = opset.relu(opset.convolution(x, one, [1, 1], [0, 0], [0, 0], [1, 1]))
    ov.save_model(ov.Model([x], [image]), tmp_path / "model.xml", compress_to_fp16=False)
    dark, bright = (np.full((8, 8, 3), value, dtype=np.uint8) for value in (10, 200))
    shown = [{"images": canvas[None]} for canvas in (*[dark] * 9, bright)]
    quantized = quantize_dense(tmp_path / "model.xml", shown)
    highest = [
        float(node.input_value(2).get_node().data.max())
        for node in quantized.get_ops()
        if node.get_type_name() == "FakeQuantize" and node.input_value(0).get_node().get_type_name() == "Relu"
    ]
    assert highest == pytest.approx([200.0], rel=0.01)  # the mean of the images' highest is 29


def test_8_bit_without_enough_images_is_refused_in_words(tmp_path):
    with pytest.raises(ExportError, match=r"2 are needed at least, there are 1\. Give more with --data"):
        quantize_dense(tmp_path / "model.xml", samples()[:1])
