"""Builds a small real classifier with paths, for OpenVINO, that a reader can check by hand.

Router and experts are those of `tests.path_artifacts`: red images take path 0, green images path 1, and blue
images path 2. The graph of a route compares the average red, green and blue, as many times as sharply as
`sharpness` says; so each route gives another answer.
"""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset15 as ops
from numpy.typing import NDArray

from tests.builders import (
    CANVAS,
    LEVELS_PER_LOGIT,
    BuiltArtifact,
    classifier_manifest_for,
    golden_image,
    output_row,
    sums_of,
    write_manifest,
)
from tests.path_artifacts import (
    FACTORS,
    PROBS,
    baseline_routing,
    gates_of,
    path_manifest,
    path_probs,
    router_graph,
)

CLASSES = 3


def build_path_classifier(repository: Path, *, name: str = "sorted") -> BuiltArtifact:
    """Write a whole artifact `<repository>/<name>-openvino/1`."""
    folder = repository / f"{name}-openvino" / "1"
    folder.mkdir(parents=True)
    plain, manifest = classifier_manifest_for(name, "1"), path_manifest(name, "1", "openvino")
    (top_k,) = (row for row in manifest["inputs"] if row["name"] == "top_k")
    manifest |= {key: plain[key] for key in ("task", "task_settings", "parity")}
    manifest["inputs"] = [plain["inputs"][0], top_k]
    filled = [row for row in manifest["outputs"] if row["name"] in ("gates", "router_probs", "path_probs")]
    manifest["outputs"] = [output_row("probabilities", "probabilities", [CLASSES]), *filled]
    manifest["golden"]["params"] = {"top": CLASSES}
    router_graph(folder / "router.xml")
    for route in manifest["paths"]["routes"]:
        _graph(folder / f"{route['graph']}.xml", sharpness(route["path"], route["top_k"]))
    image = golden_image()
    probs = path_probs(image)
    path = int(probs.argmax())
    likely = probabilities(image, 2)
    best = np.argsort(-likely).astype(np.int32)
    arrays = {
        "probabilities": likely[None],
        "gates": gates_of(path, 2)[None],
        "router_probs": np.array(PROBS[path], dtype=np.float32)[None],
        "path_probs": probs[None],
        "cls_class_ids": best,
        "cls_scores": likely[best],
    }
    np.savez(folder / "golden.npz", image=image, input=image[None], **arrays)
    np.savez(folder / "routing.npz", **baseline_routing())
    manifest["files"] = sums_of(folder)
    write_manifest(folder, manifest)
    return BuiltArtifact(repository, folder, manifest)


def sharpness(path: int, top_k: int) -> float:
    """Return how sharply a route compares the colours; 1: LEVELS_PER_LOGIT levels are one logit."""
    return (2 * path + 1) * FACTORS[top_k] / 4


def probabilities(image: NDArray[np.uint8], top_k: int) -> NDArray[np.float32]:
    """Return the probabilities of the classes for an image (64, 64, 3), computed with NumPy."""
    sharp = sharpness(int(path_probs(image).argmax()), top_k)
    likely = np.exp(image.reshape(-1, 3).mean(axis=0) / LEVELS_PER_LOGIT * sharp)
    return np.asarray(likely / likely.sum(), dtype=np.float32)


def _graph(file: Path, sharp: float) -> None:
    images: Any = ops.parameter([1, CANVAS, CANVAS, 3], ov.Type.u8, name="images")
    means = ops.reduce_mean(ops.convert(images, np.float32), np.array([1, 2]), keep_dims=False)  # (1, 3)
    likely = ops.softmax(ops.multiply(means, np.float32(sharp / LEVELS_PER_LOGIT)), 1)
    likely.output(0).set_names({"probabilities"})
    ov.save_model(ov.Model([likely.output(0)], [images], file.stem), file, compress_to_fp16=False)
