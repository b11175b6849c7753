"""Builds small real ONNX artifacts: a static graph without controls, and one whose experts are branches.

The static graph has the classes red, green and blue, all with the same box. The score of a class is the mean
value (0 to 1) of its colour in the image. The other graph has two experts, one for red and one for green
images, in the branches of an `If`. Its router compares the average red and green, where 32 levels are one
logit. The chosen expert returns the mean value of its colour.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.builders import (
    CANVAS,
    LEVELS_PER_LOGIT,
    PAD_VALUE,
    BuiltArtifact,
    golden_image,
    manifest_for,
    output_row,
    sums_of,
    write_manifest,
)

BOX = ((8, 8, 24, 24),)
SHARES = (147.5 / 255, 82.5 / 255, 37.5 / 255)  # mean red, green and blue of the golden image, 0 to 1

_EXACT = (0, 0)


def build_static(repository: Path, *, name: str = "plain", target: str = "npu") -> BuiltArtifact:
    """Write the static artifact with a manifest of version 2, `<repository>/<name>-<target>/1`."""
    outputs = [
        output_row("boxes", "boxes_xyxy", [1, 4]),
        output_row("class_scores", "class_scores", [1, 3]),
    ]
    manifest = manifest_for(name, "1", "service") | {
        "target": target,
        "graphs": [{"name": "model", "file": "model.onnx"}],
        "execution": "dense",
        "mixture": [],
        "outputs": outputs,
    }
    manifest["inputs"] = manifest["inputs"][:1]
    manifest["golden"] |= {"controls": {}, "router_margin": None}
    shares = np.array(SHARES, np.float32)
    arrays = {"boxes": np.array([BOX], np.float32), "class_scores": shares[None, None]}
    return _write(repository, _static_graph(1), manifest, arrays | _answer(2, shares[:2], [0, 1]))


def build_static_of_version_1(repository: Path, *, name: str = "old") -> BuiltArtifact:
    """Write the static artifact with a manifest of version 1, in which the target `onnx` is static."""
    whole = manifest_for(name, "1", "service")
    kept = ("name", "version", "variant", "task", "created", "precision", "routing", "class_names")
    resize = {"mode": "letterbox", "pad_value": PAD_VALUE, "interpolation": "bilinear"}
    tolerance = {"input_levels": 1, "boxes_px": 1e-3, "boxes_relative": 1e-5, "scores": 1e-4, "gates": 1e-4}
    manifest = {key: whole[key] for key in (*kept, "gflops", "provenance")} | {
        "schema_version": 1,
        "target": "onnx",
        "execution": "dense",
        "input": {"name": "images", "height": CANVAS, "width": CANVAS, "batch": [1], "resize": resize},
        "controls": {"top_k": None, "weight_threshold": None},
        "outputs": {"selection": "service", "candidates": 252},
        "defaults": whole["task_settings"]["defaults"],
        "mixture": [],
        "golden": {
            "top_k": None,
            "weight_threshold": None,
            "conf": 0.25,
            "router_margin": None,
            "tolerance": tolerance,
        },
        "parity": {"images": 8, "distinct_expert_sets": 0, "boxes_px": 0, "scores": 0, "gates": 0},
    }
    shares = np.array(SHARES, np.float32)
    anchors = 84  # 8 x 8, 4 x 4 and 2 x 2 cells
    boxes = np.array(BOX, np.float32).repeat(anchors, axis=0)
    scores = np.broadcast_to(shares, (anchors, 3))
    arrays = {"boxes": boxes[None], "class_scores": scores[None]}
    return _write(repository, _static_graph(anchors), manifest, arrays | _answer(2, shares[:2], [0, 1]))


def build_branches(
    repository: Path, *, name: str = "branches", control: str = "top_k", green: float = 1 / 255
) -> BuiltArtifact:
    """Write the artifact whose experts are branches.

    Args:
        repository: created if missing.
        name: the model's name.
        control: name of the input that sets the number of experts.
        green: factor of the second expert's result; NaN makes the result NaN.
    """
    outputs = [
        output_row("boxes", "boxes_xyxy", [1, 4]),
        output_row("scores", "scores", [1]),
        output_row("class_ids", "class_ids", [1], _EXACT, "i32"),
        output_row("gates", "gates", [1, 2]),
        output_row("router_probs", "router_probs", [1, 2]),
    ]
    manifest = manifest_for(name, "1", "graph") | {
        "target": "onnx",
        "graphs": [{"name": "model", "file": "model.onnx"}],
        "outputs": outputs,
    }
    manifest["inputs"] = [
        manifest["inputs"][0],
        manifest["inputs"][1] | {"name": control, "allowed": [1], "default": 1},
    ]
    manifest["mixture"] = [
        manifest["mixture"][0] | {"num_experts": 2, "expert_gflops": [1.0, 2.0], "expert_share": [0.5, 0.5]}
    ]
    manifest["golden"] |= {"controls": {control: 1}}
    likely = np.exp(np.array([147.5, 82.5]) / LEVELS_PER_LOGIT)
    arrays = {
        "boxes": np.array([BOX], np.float32),
        "scores": np.array([SHARES[:1]], np.float32),
        "class_ids": np.array([[0]], np.int32),
        "gates": np.array([[[1, 0]]], np.float32),
        "router_probs": (likely / likely.sum()).astype(np.float32)[None, None],
    }
    answer = _answer(1, np.array(SHARES[:1], np.float32), [0])
    return _write(repository, _branching_graph(control, green), manifest, arrays | answer)


def _answer(count: int, scores: NDArray[np.float32], class_ids: list[int]) -> dict[str, NDArray[Any]]:
    boxes = np.array(BOX * count, np.float32)
    return {"det_boxes_xyxy": boxes, "det_scores": scores, "det_class_ids": np.array(class_ids, np.int32)}


def _write(
    repository: Path, model: onnx.ModelProto, manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> BuiltArtifact:
    folder = repository / f"{manifest['name']}-{manifest['target']}" / "1"
    folder.mkdir(parents=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "model.onnx")
    image = golden_image()
    np.savez(folder / "golden.npz", image=image, input=image[None], **arrays)
    manifest["files"] = sums_of(folder)
    write_manifest(folder, manifest)
    return BuiltArtifact(repository, folder, manifest)


def _static_graph(anchors: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "height_width"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "full"], ["shares"]),
        helper.make_node("Unsqueeze", ["shares", "one"], ["every_anchor"]),
        helper.make_node("Expand", ["every_anchor", "anchors"], ["class_scores"]),
        helper.make_node("Identity", ["box"], ["boxes"]),
    ]
    constants = {
        "height_width": np.array([1, 2], np.int64),
        "one": np.array([1], np.int64),
        "anchors": np.array([1, anchors, 3], np.int64),
        "full": np.array(255, np.float32),
        "box": np.array(BOX, np.float32).repeat(anchors, axis=0)[None],
    }
    outputs = {"boxes": ("FLOAT", [1, anchors, 4]), "class_scores": ("FLOAT", [1, anchors, 3])}
    return _model(nodes, {"images": ("UINT8", [1, CANVAS, CANVAS, 3])}, outputs, constants)


def _branching_graph(control: str, green: float) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "height_width"], ["means"], keepdims=0),  # (1, 3)
        helper.make_node("Slice", ["means", "zero", "two", "one"], ["colours"]),  # (1, 2)
        helper.make_node("Mul", ["colours", "per_logit"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Unsqueeze", ["probabilities", "one"], ["router_probs"]),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),  # (1,)
        helper.make_node("OneHot", ["best", "two", "off_on"], ["gate"], axis=-1),  # (1, 2)
        helper.make_node("Cast", [control], ["asked"], to=TensorProto.FLOAT),
        helper.make_node("Min", ["asked", "unit"], ["capped"]),
        helper.make_node("Mul", ["gate", "capped"], ["chosen"]),
        helper.make_node("Unsqueeze", ["chosen", "one"], ["gates"]),
        helper.make_node("Squeeze", ["best"], ["index"]),
        helper.make_node("Equal", ["index", "first"], ["is_red"]),
        helper.make_node(
            "If", ["is_red"], ["scores"],
            then_branch=_expert("red", 0, 1 / 255), else_branch=_expert("green", 1, green),
        ),
        helper.make_node("Cast", ["best"], ["best_i32"], to=TensorProto.INT32),
        helper.make_node("Unsqueeze", ["best_i32", "zero"], ["class_ids"]),
        helper.make_node("Identity", ["box"], ["boxes"]),
    ]  # fmt: skip
    constants = {
        "height_width": np.array([1, 2], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "first": np.array(0, np.int64),
        "off_on": np.array([0, 1], np.float32),
        "unit": np.array([[1]], np.float32),
        "per_logit": np.array(1 / LEVELS_PER_LOGIT, np.float32),
        "box": np.array([BOX], np.float32),
    }
    inputs = {"images": ("UINT8", [1, CANVAS, CANVAS, 3]), control: ("INT64", [1, 1])}
    outputs = {
        "boxes": ("FLOAT", [1, 1, 4]),
        "scores": ("FLOAT", [1, 1]),
        "class_ids": ("INT32", [1, 1]),
        "gates": ("FLOAT", [1, 1, 2]),
        "router_probs": ("FLOAT", [1, 1, 2]),
    }
    return _model(nodes, inputs, outputs, constants)


def _expert(name: str, colour: int, factor: float) -> onnx.GraphProto:
    """Return a branch that contains its own weights and reads the average of one colour."""
    nodes = [
        helper.make_node("Gather", ["means", f"{name}_colour"], [f"{name}_mean"], axis=1),  # (1, 1)
        helper.make_node("Mul", [f"{name}_mean", f"{name}_factor"], [f"{name}_score"]),
    ]
    weights = {
        f"{name}_colour": np.array([colour], np.int64),
        f"{name}_factor": np.array(factor, np.float32),
    }
    outputs = [helper.make_tensor_value_info(f"{name}_score", TensorProto.FLOAT, [1, 1])]
    return helper.make_graph(nodes, name, [], outputs, _initializers(weights))


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[str, list[int]]],
    outputs: dict[str, tuple[str, list[int]]],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    sides = [
        [
            helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), dims)
            for name, (kind, dims) in side
        ]
        for side in (inputs.items(), outputs.items())
    ]
    graph = helper.make_graph(nodes, "tiny", *sides, _initializers(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _initializers(values: dict[str, NDArray[Any]]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def build_constant(
    repository: Path,
    task: str,
    settings: dict[str, Any],
    found: dict[str, NDArray[Any]],
    answer: dict[str, NDArray[Any]],
) -> BuiltArtifact:
    """Write an artifact whose graph returns the same for every image: `<repository>/<task>-onnx/1`.

    Args:
        repository: created if missing.
        task: the model's task, which is also its name.
        settings: the task's settings beside those of detection.
        found: the outputs for one image, by role, with the batch axis.
        answer: the arrays of the golden sample's predictions.
    """
    manifest = manifest_for(task, "1", "graph")
    names = {"float32": "f32", "float16": "f16", "int32": "i32"}
    manifest |= {
        "target": "onnx",
        "graphs": [{"name": "model", "file": "model.onnx"}],
        "execution": "dense",
        "mixture": [],
        "task": task,
        "outputs": [
            output_row(role, role, list(array.shape[1:]), dtype=names[array.dtype.name])
            for role, array in found.items()
        ],
    }
    manifest["task_settings"] |= {"candidates": found["scores"].shape[1], **settings}
    manifest["inputs"] = manifest["inputs"][:1]
    manifest["golden"] |= {"controls": {}, "router_margin": None}
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "every"], ["mean"], keepdims=0),  # (1,)
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "value_scores"], ["scores"]),
        *(helper.make_node("Identity", [f"value_{role}"], [role]) for role in found if role != "scores"),
    ]
    constants = {f"value_{role}": array for role, array in found.items()}
    constants |= {"every": np.array([1, 2, 3], np.int64), "nothing": np.array(0, np.float32)}
    kinds = {"float32": "FLOAT", "float16": "FLOAT16", "int32": "INT32"}
    outputs = {role: (kinds[array.dtype.name], list(array.shape)) for role, array in found.items()}
    graph = _model(nodes, {"images": ("UINT8", [1, CANVAS, CANVAS, 3])}, outputs, constants)
    return _write(repository, graph, manifest, found | answer)
