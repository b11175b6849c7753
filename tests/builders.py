"""Builds small real artifacts for the service's tests, with answers that a reader can check by hand.

The tiny detector computes the average colour of its 64 x 64 input. Layer `backbone.p4` has four experts: one
each for red, green, blue and dark images. Layer `backbone.p5` has three: for bright, medium and dark images.
The classes are red, green and blue, each with a fixed box. The score of a class is the gate of its colour's
expert, times the mean value (0 to 1) of this colour in the top left quarter of the input. A second red box,
one pixel away, has 0.9 of the red score: non-maximum suppression must remove it.

The tiny classifier has the same experts. Its probabilities are the softmax of the average colour, where 32
levels of colour are one logit. It can also be built without experts.
"""

import copy
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset15 as ops
from numpy.typing import NDArray
from PIL import Image

CANVAS = 64
CLASS_NAMES = ("red", "green", "blue")
BOXES_XYXY = ((4, 4, 36, 36), (32, 8, 60, 24), (8, 32, 24, 60), (5, 4, 37, 36))
BOX_CLASSES = (0, 1, 2, 0)
BOX_FACTORS = (1.0, 1.0, 1.0, 0.9)
LEVELS_PER_LOGIT = 32.0  # 32 levels more of a colour add 1 to its logit
DARK_LEVEL = 96.0
PAD_VALUE = 114


@dataclass(frozen=True)
class BuiltArtifact:
    """The folder of an artifact, and the content of its manifest."""

    repository: Path
    folder: Path
    manifest: dict[str, Any]


def build_artifact(
    repository: Path,
    *,
    name: str = "tiny",
    version: str = "1",
    selection: str = "graph",
    changes: dict[str, Any] | None = None,
    report: dict[str, Any] | None = None,
) -> BuiltArtifact:
    """Write a whole artifact, `<repository>/<name>-openvino/<version>`.

    Args:
        repository: created if missing.
        name, version: of the model.
        selection: whether the `graph` or the `service` selects the candidates.
        changes: top-level manifest keys to replace, after everything else is computed.
        report: for experts.json; None: without this file.
    """
    manifest = manifest_for(name, version, selection)
    return _build(repository, tiny_graph(selection), manifest, golden_detections, changes, report)


def build_classifier(
    repository: Path,
    *,
    name: str = "colours",
    version: str = "1",
    experts: bool = True,
    changes: dict[str, Any] | None = None,
) -> BuiltArtifact:
    """Write a whole artifact of task `classify`, whose images are resized by a centre crop.

    Args:
        repository: created if missing.
        name, version: of the model.
        experts: False leaves out the mixture layers and their controls.
        changes: top-level manifest keys to replace, after everything else is computed.
    """
    manifest = classifier_manifest_for(name, version, experts=experts)
    return _build(repository, tiny_classifier(experts=experts), manifest, golden_classes, changes)


def _build(
    repository: Path,
    graph: ov.Model,
    manifest: dict[str, Any],
    golden_answer: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]],
    changes: dict[str, Any] | None,
    report: dict[str, Any] | None = None,
) -> BuiltArtifact:
    folder = repository / f"{manifest['name']}-openvino" / manifest["version"]
    folder.mkdir(parents=True)
    ov.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    image = golden_image()
    outputs = run_graph(compile_graph(folder / "model.xml"), image[None], top_k=2)
    np.savez(folder / "golden.npz", image=image, input=image[None], **outputs, **golden_answer(outputs))
    if report is not None:
        (folder / "experts.json").write_text(json.dumps(report))
        manifest["experts_report"] = "experts.json"
    manifest["files"] = sums_of(folder)
    manifest |= changes or {}
    write_manifest(folder, manifest)
    return BuiltArtifact(repository, folder, manifest)


def sums_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file in a version folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json into a version folder."""
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def golden_image() -> NDArray[np.uint8]:
    """Return the golden image: reddish, with a red top left quarter; no resize is needed."""
    image = np.full((CANVAS, CANVAS, 3), (120, 90, 40), dtype=np.uint8)
    image[:32, :32] = (230, 60, 30)
    return image


def golden_detections(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the detections of the golden image: one red box; all other scores are below 0.25."""
    gate = outputs["gates"][0, 0, 0]
    return {
        "det_boxes_xyxy": np.array([BOXES_XYXY[0]], dtype=np.float32),
        "det_scores": np.array([gate * 230 / 255], dtype=np.float32),
        "det_class_ids": np.array([0], dtype=np.int32),
    }


def golden_classes(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the classes of the golden image, best first: its average colour is 147.5, 82.5, 37.5."""
    del outputs
    likely = np.exp(np.array([147.5, 82.5, 37.5]) / LEVELS_PER_LOGIT)
    return {
        "cls_class_ids": np.array([0, 1, 2], dtype=np.int32),
        "cls_scores": (likely / likely.sum()).astype(np.float32),
    }


def compile_graph(graph: Path) -> ov.CompiledModel:
    """Compile a graph in float32, without any code of the service."""
    return ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def run_graph(graph: ov.CompiledModel, images: NDArray[np.uint8], top_k: int) -> dict[str, NDArray[Any]]:
    """Return the outputs of a graph for images and a top_k."""
    top_ks, thresholds = np.array([[top_k]], dtype=np.int64), np.zeros((1, 1), dtype=np.float32)
    inputs = {"images": images, "top_k": top_ks, "weight_threshold": thresholds}
    answer = graph({port.get_any_name(): inputs[port.get_any_name()] for port in graph.inputs})
    return {port.get_any_name(): np.array(value) for port, value in answer.items()}


def tiny_graph(selection: str = "graph") -> ov.Model:
    """Return the tiny detector, whose inputs and outputs have the names of the manifest."""
    images = ops.parameter([1, CANVAS, CANVAS, 3], np.uint8, name="images")
    top_k = ops.parameter([1, 1], np.int64, name="top_k")
    threshold = ops.parameter([1, 1], np.float32, name="weight_threshold")
    pixels = ops.convert(images, np.float32)
    quarter = ops.slice(pixels, _ints(0, 0), _ints(32, 32), _ints(1, 1), _ints(1, 2))
    means = ops.reduce_mean(pixels, _ints(1, 2))  # (1, 3)
    fullness = ops.multiply(ops.reduce_mean(quarter, _ints(1, 2)), _floats(1 / 255))  # (1, 3)
    probabilities = _router(means)  # (1, 2, 4)
    gates = _gate(probabilities, top_k, threshold)  # (1, 2, 4)
    colour_gates = ops.squeeze(ops.slice(gates, _ints(0, 0), _ints(1, 3), _ints(1, 1), _ints(1, 2)), _ints(1))
    by_class = ops.multiply(colour_gates, fullness)  # (1, 3)
    scores = ops.multiply(
        ops.gather(by_class, np.array(BOX_CLASSES), np.array(1)), _floats(*BOX_FACTORS)
    )  # (1, 4)
    boxes = _floats(*BOXES_XYXY)  # (4, 4)
    named = _selected(boxes, scores) if selection == "graph" else _every_anchor(boxes, scores)
    named |= {"gates": gates, "router_probs": probabilities}
    for name, node in named.items():
        node.output(0).set_names({name})
    return ov.Model([node.output(0) for node in named.values()], [images, top_k, threshold], "tiny")


def tiny_classifier(*, experts: bool = True) -> ov.Model:
    """Return the tiny classifier, with or without the experts."""
    images = ops.parameter([1, CANVAS, CANVAS, 3], np.uint8, name="images")
    top_k = ops.parameter([1, 1], np.int64, name="top_k")
    threshold = ops.parameter([1, 1], np.float32, name="weight_threshold")
    means = ops.reduce_mean(ops.convert(images, np.float32), _ints(1, 2))  # (1, 3)
    named = {"probabilities": ops.softmax(ops.multiply(means, _floats(1 / LEVELS_PER_LOGIT)), 1)}
    if experts:
        named["router_probs"] = _router(means)
        named["gates"] = _gate(named["router_probs"], top_k, threshold)
    for name, node in named.items():
        node.output(0).set_names({name})
    inputs = [images, top_k, threshold] if experts else [images]
    return ov.Model([node.output(0) for node in named.values()], inputs, "classifier")


_PARITY = {
    "images": 8,
    "distinct_expert_sets": 4,
    "differences": {"gates": 0.0},
    "compared_boxes": 40,
    "skippable_experts": 0,
    "expert_sets": 1.0,
    "metric": {"name": "map50_95", "checkpoint": 0.5, "graph": 0.5},
}
_GOLDEN: dict[str, Any] = {
    "controls": {"top_k": 2, "weight_threshold": 0.0},
    "params": {"conf": 0.25},
    "router_margin": 0.05,
    "input_levels": 1,
}
_EXACT = (0, 0)
_SCORES = (1e-4, 0)
_BOXES = (1e-3, 1e-5)


def output_row(
    name: str, role: str, sizes: Sequence[int], tolerance: tuple[float, float] = _SCORES, dtype: str = "f32"
) -> dict[str, Any]:
    """Return one row of a manifest's outputs; tolerance is (absolute, relative)."""
    absolute, relative = tolerance
    within = {"absolute": absolute, "relative": relative}
    return {"name": name, "dtype": dtype, "dims": ["B", *sizes], "role": role, "tolerance": within}


def images_row(**resize: Any) -> dict[str, Any]:
    """Return the manifest's row of the image input, by default resized with a letterbox."""
    resize = {"mode": "letterbox", "pad_value": PAD_VALUE, **resize}
    if resize["mode"] == "center_crop":
        del resize["pad_value"]
    return {
        "name": "images",
        "dtype": "u8",
        "dims": ["B", CANVAS, CANVAS, 3],
        "role": "images",
        "resize": {**resize, "interpolation": "bilinear"},
    }


def manifest_for(name: str, version: str, selection: str) -> dict[str, Any]:
    """Return the manifest of the tiny detector, without the sha256 of its files."""
    boxes = output_row("boxes", "boxes_xyxy", [4, 4], _BOXES)
    found = [
        output_row("scores", "scores", [4]),
        output_row("class_ids", "class_ids", [4], _EXACT, "i32"),
    ]
    if selection == "service":
        found = [output_row("class_scores", "class_scores", [4, 3])]
    defaults = {"conf": 0.25, "iou": 0.5, "max_det": 100}
    return _manifest(name, version) | {
        "outputs": [boxes, *found, *_routing_rows()],
        "task": "detect",
        "task_settings": {"selection": selection, "candidates": 4, "defaults": defaults},
    }


def classifier_manifest_for(name: str, version: str, *, experts: bool = True) -> dict[str, Any]:
    """Return the manifest of the tiny classifier, without the sha256 of its files."""
    manifest = _manifest(name, version) | {
        "outputs": [output_row("probabilities", "probabilities", [3]), *_routing_rows()],
        "task": "classify",
        "task_settings": {"defaults": {"top": 2}},
    }
    manifest["inputs"][0] = images_row(mode="center_crop")
    if not experts:
        manifest |= {"mixture": [], "inputs": manifest["inputs"][:1], "outputs": manifest["outputs"][:1]}
        manifest |= {"execution": "dense", "gflops": {"fixed": 4.0, "dense": 4.0}}
        manifest["golden"] |= {"controls": {}, "router_margin": None}
    manifest["golden"]["params"] = {"top": 3}
    manifest["parity"]["metric"]["name"] = "top1"
    return manifest


def _routing_rows() -> list[dict[str, Any]]:
    return [output_row(name, name, [2, 4]) for name in ("gates", "router_probs")]


def _manifest(name: str, version: str) -> dict[str, Any]:
    """Return the part of a manifest that is the same for all tasks."""
    layers = [("backbone.p4", 4, [0.5, 0.25, 0.25, 1.0]), ("backbone.p5", 3, [0.1, 0.2, 0.3])]
    control = {"dims": ["B", 1], "role": "control"}
    return {
        "schema_version": 2,
        "name": name,
        "target": "openvino",
        "version": version,
        "variant": "tiny",
        "created": "2026-11-21T12:00:00Z",
        "files": {},
        "graphs": [{"name": "model", "file": "model.xml"}],
        "precision": "f32",
        "execution": "sparse",
        "routing": "normal",
        "batch": [1],
        "inputs": [
            images_row(),
            {"name": "top_k", "dtype": "i64", **control, "allowed": [1, 2, 3, 4], "default": 2},
            {"name": "weight_threshold", "dtype": "f32", **control, "range": [0, 1], "default": 0.0},
        ],
        "class_names": list(CLASS_NAMES),
        "mixture": [
            {
                "layer": layer,
                "row": row,
                "num_experts": experts,
                "expert_gflops": gflops,
                "information_bits": 0.8,
                "expert_share": [2 / experts] * experts,
                "distinct_sets": 3,
                "commonest_set_share": 0.5,
                "nmi": {"origin": None, "density": 0.3},
            }
            for row, (layer, experts, gflops) in enumerate(layers)
        ],
        "baseline": {"data": "colours", "images": 8},
        "gflops": {"fixed": 4.0, "dense": 6.6},
        "golden": copy.deepcopy(_GOLDEN),
        "parity": copy.deepcopy(_PARITY),
        "speed": {"sparse_to_dense": 0.9, "sparse_ms": 9.0, "dense_ms": 10.0, "machine": "a small one"},
        "provenance": {
            "checkpoint_sha256": "0" * 64,
            "data": "arithmetic",
            "metrics": {"colours_map50": 1.0},
            "attribution": "Made by the tests.",
        },
    }


def image_bytes(
    pixels: NDArray[Any], image_format: str = "PNG", mode: str | None = None, **save: Any
) -> bytes:
    """Return pixels (H, W) or (H, W, 3) as an encoded image, optionally converted to a Pillow mode."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, image_format, **save)
    return buffer.getvalue()


def _router(means: Any) -> Any:
    """Return router probabilities (1, 2, 4) of the two layers; the second layer has no fourth expert."""
    per_logit = _floats(1 / LEVELS_PER_LOGIT)
    dark = ops.constant(np.full((1, 1), DARK_LEVEL, np.float32))
    first = ops.multiply(ops.concat([means, dark], 1), per_logit)  # (1, 4)
    bright = ops.reduce_mean(means, _ints(1), keep_dims=True)  # (1, 1)
    middling = ops.constant(np.full((1, 1), 128, np.float32))
    levels = ops.concat([bright, middling, ops.subtract(_floats(255), bright)], 1)
    absent = ops.constant(np.full((1, 1), -1e9, np.float32))
    second = ops.concat([ops.multiply(levels, per_logit), absent], 1)
    logits = ops.concat([ops.unsqueeze(first, _ints(1)), ops.unsqueeze(second, _ints(1))], 1)
    return ops.softmax(logits, 2)


def _gate(probabilities: Any, top_k: Any, threshold: Any) -> Any:
    """Return gates (1, 2, 4): the best expert and those of rank < top_k over the threshold, renormalised."""
    mine = ops.unsqueeze(probabilities, _ints(3))  # (1, 2, 4, 1)
    theirs = ops.unsqueeze(probabilities, _ints(2))  # (1, 2, 1, 4)
    earlier = ops.constant(np.tril(np.ones((4, 4), bool), -1))
    ahead = ops.logical_or(ops.greater(theirs, mine), ops.logical_and(ops.equal(theirs, mine), earlier))
    rank = ops.reduce_sum(ops.convert(ahead, np.float32), _ints(3))  # (1, 2, 4)
    best = ops.equal(rank, _floats(0))
    good = ops.logical_and(
        ops.less(rank, ops.convert(ops.unsqueeze(top_k, _ints(2)), np.float32)),
        ops.greater_equal(probabilities, ops.unsqueeze(threshold, _ints(2))),
    )
    chosen = ops.convert(ops.logical_or(best, good), np.float32)
    kept = ops.multiply(probabilities, chosen)
    return ops.divide(kept, ops.reduce_sum(kept, _ints(2), keep_dims=True))


def _selected(boxes: Any, scores: Any) -> dict[str, Any]:
    best = ops.topk(scores, np.array(4), 1, "max", "value", stable=True, index_element_type="i32")
    rows = ops.squeeze(best.output(1), _ints(0))
    class_ids = ops.gather(ops.constant(np.array(BOX_CLASSES, np.int32)), rows, np.array(0))
    return {
        "boxes": ops.unsqueeze(ops.gather(boxes, rows, np.array(0)), _ints(0)),
        "scores": ops.squeeze(ops.unsqueeze(best.output(0), _ints(0)), _ints(0)),
        "class_ids": ops.unsqueeze(class_ids, _ints(0)),
    }


def _every_anchor(boxes: Any, scores: Any) -> dict[str, Any]:
    one_hot = ops.constant(np.eye(3, dtype=np.float32)[list(BOX_CLASSES)][None])  # (1, 4, 3)
    return {
        "boxes": ops.unsqueeze(boxes, _ints(0)),
        "class_scores": ops.multiply(ops.unsqueeze(scores, _ints(2)), one_hot),
    }


def _ints(*values: int) -> Any:
    return ops.constant(np.array(values, dtype=np.int64))


def _floats(*values: Any) -> Any:
    return ops.constant(np.array(values if len(values) > 1 else values[0], dtype=np.float32))
