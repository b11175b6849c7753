"""Builds small real artifacts with paths, for OpenVINO and ONNX Runtime, that a reader can check by hand.

The router compares the average red, green and blue of the 64 x 64 input, where 32 levels are one logit: red
images take path 0, green images path 1, and blue images path 2. The graph of path p finds one box of class p,
the p-th of BOXES_XYXY, whose score is the mean value (0 to 1) of the path's colour; at top_k 1, the score is
half of that.

Layer `backbone.p4` has four experts: path p uses expert p, and at top_k 2 also expert 3. Layer `backbone.p5`
has three: path p uses expert p, and at top_k 2 also the next one.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import openvino.opset15 as ops
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.builders import (
    BOXES_XYXY,
    CANVAS,
    LEVELS_PER_LOGIT,
    BuiltArtifact,
    golden_image,
    manifest_for,
    output_row,
    sums_of,
    write_manifest,
)
from training.export.graph.shared_weights import WEIGHTS_FILE, share_weights

PATHS = 3
TOP_KS = (1, 2)
FACTORS = {1: 0.5, 2: 1.0}  # of the score, by top_k
PROBS = (  # softmax of each path's scores, (P, L, E)
    ((0.6, 0.1, 0.1, 0.2), (0.54, 0.36, 0.1, 0)),
    ((0.1, 0.6, 0.1, 0.2), (0.1, 0.54, 0.36, 0)),
    ((0.1, 0.1, 0.6, 0.2), (0.36, 0.1, 0.54, 0)),
)
SHARE = (0.5, 0.3, 0.2)
IMAGES = 150  # of the baseline
WIDE, LAYERS = 96, 12  # channels and convolutions of a heavy graph
HEAVY_GFLOPS = 2 * 9 * WIDE * CANVAS**2 * (3 + LAYERS * WIDE) / 1e9  # 8.2


def build_paths(
    repository: Path,
    *,
    name: str = "routed",
    version: str = "1",
    target: str = "openvino",
    batch: Sequence[int] = (1,),
    broken: str | None = None,
    answers: bool = True,
    heavy: str | None = None,
    shared: bool = True,
    changes: dict[str, Any] | None = None,
) -> BuiltArtifact:
    """Write a whole artifact with paths, `<repository>/<name>-<target>/<version>`, with a baseline.

    Args:
        repository: created if missing.
        name, version: of the model.
        target: openvino or onnx.
        batch: batch sizes that every graph takes.
        broken: name of a graph whose probabilities or scores are NaN.
        answers: whether the golden sample has the answers of all routes; earlier artifacts lack them.
        heavy: for openvino, name of the graph of a route that takes HEAVY_GFLOPS more, for the same answer.
        shared: for openvino, whether the routes share a file of weights; in earlier artifacts, they do not.
        changes: top-level manifest keys to replace, after everything else is computed.
    """
    folder = repository / f"{name}-{target}" / version
    folder.mkdir(parents=True)
    manifest = path_manifest(name, version, target, batch)
    size = 1 if tuple(batch) == (1,) else None
    build = _openvino_graph if target == "openvino" else _onnx_graph
    parts = {
        route["graph"]: (route["path"], FACTORS[route["top_k"]]) for route in manifest["paths"]["routes"]
    }
    for graph in manifest["graphs"]:
        scale = float("nan") if graph["name"] == broken else 1.0
        build(folder / graph["file"], size, parts.get(graph["name"]), scale)
    if heavy is not None:
        _make_heavy(folder / f"{heavy}.xml")
        (route,) = (one for one in manifest["paths"]["routes"] if one["graph"] == heavy)
        route["gflops"] += HEAVY_GFLOPS
    if target == "openvino" and shared:
        share_weights([folder / f"{name}.xml" for name in parts], folder / WEIGHTS_FILE)
        for graph in manifest["graphs"]:
            if graph["name"] in parts:
                graph["weights"] = WEIGHTS_FILE
    image = golden_image()
    arrays = whole_answer(image, 2)
    shown = {
        "det_boxes_xyxy": arrays["boxes"][0, :1],
        "det_scores": arrays["scores"][0, :1],
        "det_class_ids": arrays["class_ids"][0, :1],
    }
    of_routes = route_answers(image) if answers else {}
    np.savez(folder / "golden.npz", image=image, input=image[None], **arrays, **shown, **of_routes)
    np.savez(folder / "routing.npz", **baseline_routing())
    manifest["files"] = sums_of(folder)
    manifest |= changes or {}
    write_manifest(folder, manifest)
    return BuiltArtifact(repository, folder, manifest)


def rewrite_sums(folder: Path) -> None:
    """Write the sha256 of the files of a version folder into its manifest, after they were changed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    write_manifest(folder, manifest | {"files": sums_of(folder)})


def swap_graphs(folder: Path, one: str, other: str) -> None:
    """Swap two graphs' files and their sha256, so that only the outputs of the graphs show the swap."""
    for file in list(folder.glob(f"{one}.*")):
        against = file.with_stem(other)
        content = file.read_bytes()
        file.write_bytes(against.read_bytes())
        against.write_bytes(content)
    rewrite_sums(folder)


def path_manifest(name: str, version: str, target: str, batch: Sequence[int] = (1,)) -> dict[str, Any]:
    """Return the manifest of an artifact with paths, without the sha256 of its files."""
    manifest = manifest_for(name, version, "graph")
    ending = ".xml" if target == "openvino" else ".onnx"
    names = ["router", *(f"path{path}-k{top_k}" for path in range(PATHS) for top_k in TOP_KS)]
    images, top_k, _ = manifest["inputs"]
    manifest |= {
        "target": target,
        "graphs": [{"name": each, "file": each + ending} for each in names],
        "execution": "dense",
        "routing": "path",
        "batch": list(batch),
        "inputs": [images, top_k | {"allowed": list(TOP_KS)}],
        "paths": {
            "router": "router",
            "router_output": {"name": "path_probs", "dtype": "float32", "dims": ["B", PATHS]},
            "routes": [_route(path, each, manifest) for path in range(PATHS) for each in TOP_KS],
            "share": list(SHARE),
        },
        "speed": None,
    }
    manifest["outputs"].append(output_row("path_probs", "path_probs", [PATHS]))
    manifest["golden"]["controls"] = {"top_k": 2}
    settings = [{"top_k": 2}, {"top_k": 1}]
    manifest["baseline"] = {
        "data": "colours",
        "images": IMAGES,
        "routing": {"file": "routing.npz", "data": "colours", "images": IMAGES, "settings": settings},
    }
    return manifest


def gates_of(path: int, top_k: int) -> NDArray[np.float32]:
    """Return the fixed weights of the experts, (L, E)."""
    gates = np.array(PROBS[path], dtype=np.float32)
    for row in gates:
        row[np.argsort(-row)[top_k:]] = 0
    return np.asarray(gates / gates.sum(axis=1, keepdims=True), dtype=np.float32)


def plain(colour: Sequence[float]) -> NDArray[np.uint8]:
    """Return an image (64, 64, 3) of one colour."""
    return np.full((CANVAS, CANVAS, 3), np.array(colour).astype(np.uint8))


RED, GREEN, BLUE = plain((200, 60, 40)), plain((60, 200, 40)), plain((60, 40, 200))


def path_probs(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the router's probabilities for an image (64, 64, 3), computed with NumPy."""
    likely = np.exp(image.reshape(-1, 3).mean(axis=0) / LEVELS_PER_LOGIT)
    return np.asarray(likely / likely.sum(), dtype=np.float32)


def route_answers(image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return the part of each route's answer that a golden sample holds: the box with a score."""
    routes = [(path, top_k) for path in range(PATHS) for top_k in TOP_KS]
    means = image.reshape(-1, 3).mean(axis=0) / 255
    return {
        "routes_rows": np.zeros((len(routes), 1), dtype=np.int32),
        "routes_boxes": np.array([[BOXES_XYXY[path]] for path, _ in routes], dtype=np.float32),
        "routes_scores": np.array([[means[p] * FACTORS[top_k]] for p, top_k in routes], dtype=np.float32),
        "routes_class_ids": np.array([[path] for path, _ in routes], dtype=np.int32),
    }


def whole_answer(image: NDArray[np.uint8], top_k: int) -> dict[str, NDArray[Any]]:
    """Return every output of the manifest for an image (64, 64, 3), computed with NumPy."""
    probs = path_probs(image)
    path = int(probs.argmax())
    score = image[..., path].mean() / 255 * FACTORS[top_k]
    return {
        "boxes": np.array([_boxes(path)], dtype=np.float32),
        "scores": np.array([[score, 0, 0, 0]], dtype=np.float32),
        "class_ids": np.full((1, 4), path, dtype=np.int32),
        "gates": gates_of(path, top_k)[None],
        "router_probs": np.array(PROBS[path], dtype=np.float32)[None],
        "path_probs": probs[None],
    }


def baseline_routing() -> dict[str, NDArray[Any]]:
    """Return the arrays of routing.npz: IMAGES images take the paths by SHARE, at top_k 2 and at top_k 1."""
    paths = np.repeat(np.arange(PATHS), np.round(np.array(SHARE) * IMAGES).astype(int))
    logs = np.log(np.maximum(np.array(PROBS, np.float32)[paths], 1e-3))  # (N, L, E)
    bits = 1 << np.arange(4, dtype=np.uint64)
    sets = [
        np.stack([((gates_of(int(path), top_k) > 0) * bits).sum(axis=1) for path in paths])
        for top_k in (2, 1)
    ]
    return {"log_probs": np.stack([logs, logs]).astype(np.float16), "sets": np.stack(sets).astype(np.uint64)}


def _route(path: int, top_k: int, manifest: dict[str, Any]) -> dict[str, Any]:
    gates = gates_of(path, top_k)
    used = sum(
        cost
        for layer, row in zip(manifest["mixture"], gates, strict=True)
        for cost, weight in zip(layer["expert_gflops"], row, strict=False)
        if weight > 0
    )
    return {
        "path": path,
        "top_k": top_k,
        "graph": f"path{path}-k{top_k}",
        "gates": [[float(weight) for weight in row] for row in gates],
        "probs": [[float(value) for value in row] for row in PROBS[path]],
        "gflops": manifest["gflops"]["fixed"] + used,
    }


def router_graph(file: Path) -> None:
    """Write the graph of the router for one image, for OpenVINO."""
    _openvino_graph(file, 1, None, 1.0)


def _boxes(path: int) -> list[tuple[int, ...]]:
    return [BOXES_XYXY[path]] * 4


def _openvino_graph(file: Path, batch: int | None, path: tuple[int, float] | None, scale: float) -> None:
    images = ops.parameter(ov.PartialShape([batch or -1, CANVAS, CANVAS, 3]), ov.Type.u8, name="images")
    means = ops.reduce_mean(ops.convert(images, np.float32), np.array([1, 2]), keep_dims=False)  # (B, 3)
    if path is None:
        named = {"path_probs": ops.softmax(ops.multiply(means, np.float32(scale / LEVELS_PER_LOGIT)), 1)}
    else:
        place, factor = path
        own = np.zeros((3, 4), np.float32)  # the score is the first of four; the others are 0
        own[place, 0] = scale * factor / 255
        scores = ops.matmul(means, ops.constant(own), False, False)  # (B, 4)
        nothing = ops.matmul(means, ops.constant(np.zeros((3, 4), np.float32)), False, False)
        boxes = ops.constant(np.array([_boxes(place)], np.float32))
        ids = ops.add(nothing, np.float32(place))
        named = {
            "boxes": ops.add(ops.unsqueeze(nothing, np.array(2)), boxes),
            "scores": ops.add(scores, np.float32(0)),
            "class_ids": ops.convert(ids, np.int32),
        }
    for name, node in named.items():
        node.output(0).set_names({name})
    model = ov.Model([node.output(0) for node in named.values()], [images], file.stem)
    ov.save_model(model, file, compress_to_fp16=False)


def _make_heavy(file: Path) -> None:
    """Add convolutions to a graph whose result is too small to change an output."""
    model = ov.Core().read_model(file)
    (images,) = model.get_parameters()
    random = np.random.default_rng(0)
    wide = ops.transpose(ops.convert(images, np.float32), np.array([0, 3, 1, 2]))
    for size in (3, *[WIDE] * LAYERS):
        kernel = random.normal(0, 0.01, (WIDE, size, 3, 3)).astype(np.float32)
        wide = ops.relu(ops.convolution(wide, ops.constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1]))
    tiny = ops.multiply(ops.reduce_mean(wide, np.array([1, 2, 3]), keep_dims=False), np.float32(1e-20))
    for result in model.get_results():
        (source,) = result.input_values()
        if source.get_names() == {"scores"}:
            source.set_names(set())
            whole = ops.add(source, ops.unsqueeze(tiny, np.array(1)))
            whole.output(0).set_names({"scores"})
            result.input(0).replace_source_output(whole.output(0))
    changed = file.with_suffix(".heavy.xml")
    ov.save_model(model, changed, compress_to_fp16=False)
    for ending in (".xml", ".bin"):
        changed.with_suffix(ending).replace(file.with_suffix(ending))


def _onnx_graph(file: Path, batch: int | None, path: tuple[int, float] | None, scale: float) -> None:
    size = batch or "B"
    constants = {"axes": np.array([1, 2]), "scale": np.array(scale / LEVELS_PER_LOGIT, np.float32)}
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
    ]
    if path is None:
        nodes += [
            helper.make_node("Mul", ["means", "scale"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["path_probs"], axis=1),
        ]
        outputs = [helper.make_tensor_value_info("path_probs", TensorProto.FLOAT, [size, PATHS])]
    else:
        place, factor = path
        own = np.zeros((3, 4), np.float32)
        own[place, 0] = scale * factor / 255
        constants |= {
            "own": own,
            "none": np.zeros((3, 4), np.float32),
            "place": np.array(place, np.float32),
            "last": np.array([2]),
            "found": np.array([_boxes(place)], np.float32),
        }
        nodes += [
            helper.make_node("MatMul", ["means", "own"], ["scores"]),
            helper.make_node("MatMul", ["means", "none"], ["nothing"]),
            helper.make_node("Unsqueeze", ["nothing", "last"], ["deep"]),
            helper.make_node("Add", ["deep", "found"], ["boxes"]),
            helper.make_node("Add", ["nothing", "place"], ["ids"]),
            helper.make_node("Cast", ["ids"], ["class_ids"], to=TensorProto.INT32),
        ]
        outputs = [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [size, 4, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [size, 4]),
            helper.make_tensor_value_info("class_ids", TensorProto.INT32, [size, 4]),
        ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [size, CANVAS, CANVAS, 3])
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, file.stem, [images], outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(file))
