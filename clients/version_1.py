"""Convert a manifest of schema_version 1 into version 2: all that is known of version 1 is in this file.

It stands, byte for byte the same, in training/export/artifact, service/artifact and clients, and beside
model.py of every Triton model `-nms`. Standard library alone.
"""

import copy
from collections.abc import Mapping
from typing import Any

STRIDES = (8, 16, 32)  # pixels a cell of the three levels: one anchor a cell

# A anchors of all levels · C classes · N candidates · L mixture layers · E experts of the widest layer


def upgrade(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest as version 2 says it; one of version 2 is returned unchanged.

    Keys that version 1 does not know are kept where they are in the document, for a strict reader to refuse.

    Raises:
        ValueError: the version is another, or an entry of version 1 is missing or has another type.
    """
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version == 2:
        return dict(document)
    if version != 1 or isinstance(version, bool):
        raise ValueError(f"schema_version is {version!r}; it must be 1 or 2")
    old = copy.deepcopy(dict(document))
    try:
        return _converted(old)
    except KeyError as error:
        raise ValueError(f"manifest of version 1: entry {error} is missing") from error
    except (AttributeError, IndexError, TypeError) as error:
        raise ValueError(f"manifest of version 1: an entry has another type than it must: {error}") from error


def _converted(old: dict[str, Any]) -> dict[str, Any]:
    golden, parity = old.pop("golden"), old.pop("parity")
    image, controls, selected = old.pop("input"), old.pop("controls"), old.pop("outputs")
    selection, candidates = selected.pop("selection"), selected.pop("candidates")
    _refuse_rest(("outputs", selected))
    height, width = image["height"], image["width"]
    tolerance = golden.pop("tolerance")
    outputs = _outputs(old, (height, width), (selection, candidates), tolerance)
    batch = image["batch"]
    settings = {"selection": selection, "candidates": candidates, "defaults": old.pop("defaults")}
    del old["schema_version"]
    identity = {key: old.pop(key) for key in ("name", "target", "version", "variant", "created")}
    files = old.pop("files")
    form = {key: old.pop(key) for key in ("precision", "execution", "routing")}
    return {
        "schema_version": 2,
        **identity,
        "files": files,
        "graphs": [{"name": "model", "file": file} for file in files if file.endswith((".xml", ".onnx"))],
        **form,
        "batch": batch,
        "inputs": _inputs(image, controls),
        "outputs": outputs,
        "task": old.pop("task"),
        "task_settings": settings,
        "golden": _golden(golden, tolerance),
        "parity": _parity(parity, [row["name"] for row in outputs]),
        **old,
    }


def _inputs(image: dict[str, Any], controls: dict[str, Any]) -> list[dict[str, Any]]:
    dims = ["B", image.pop("height"), image.pop("width"), 3]
    del image["batch"]
    row = {"name": image.pop("name"), "dtype": "u8", "dims": dims, "role": "images"}
    inputs = [{**row, "resize": image.pop("resize")}]
    top_k, threshold = controls.pop("top_k"), controls.pop("weight_threshold")
    if top_k is not None:
        inputs.append({"name": "top_k", "dtype": "i64", "dims": ["B", 1], "role": "control", **top_k})
    if threshold is not None:
        row = {"name": "weight_threshold", "dtype": "f32", "dims": ["B", 1], "role": "control"}
        inputs.append({**row, "range": [0, 1], **threshold})
    _refuse_rest(("input", image), ("controls", controls))
    return inputs


def _outputs(
    old: Mapping[str, Any],
    input_hw: tuple[int, int],
    selected: tuple[str, int],
    tolerance: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the rows; tolerance is golden.tolerance of version 1."""
    (height, width), (selection, candidates) = input_hw, selected
    anchors = sum((height // stride) * (width // stride) for stride in STRIDES)
    classes = len(old["class_names"])
    boxes_px, boxes_relative = tolerance["boxes_px"], tolerance["boxes_relative"]
    scores, gates = tolerance["scores"], tolerance["gates"]
    if selection == "graph":
        found = min(candidates, anchors * classes)
        rows = [
            _output("boxes", "f32", [found, 4], "boxes_xyxy", (boxes_px, boxes_relative)),
            _output("scores", "f32", [found], "scores", (scores, 0)),
            _output("class_ids", "i32", [found], "class_ids", (0, 0)),
        ]
    else:
        rows = [
            _output("boxes", "f32", [anchors, 4], "boxes_xyxy", (boxes_px, boxes_relative)),
            _output("class_scores", "f32", [anchors, classes], "class_scores", (scores, 0)),
        ]
    layers = old["mixture"]
    if layers:
        sizes = [len(layers), max(layer["num_experts"] for layer in layers)]
        rows += [_output(name, "f32", sizes, name, (gates, 0)) for name in ("gates", "router_probs")]
    return rows


def _output(
    name: str, dtype: str, sizes: list[int], role: str, tolerance: tuple[float, float]
) -> dict[str, Any]:
    absolute, relative = tolerance
    return {
        "name": name,
        "dtype": dtype,
        "dims": ["B", *sizes],
        "role": role,
        "tolerance": {"absolute": absolute, "relative": relative},
    }


def _golden(golden: dict[str, Any], tolerance: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: golden.pop(name) for name in ("top_k", "weight_threshold")}
    known = {"boxes_px", "boxes_relative", "scores", "gates", "input_levels"}
    _refuse_rest(("golden.tolerance", {key: tolerance[key] for key in tolerance if key not in known}))
    return {
        "controls": {name: value for name, value in asked.items() if value is not None},
        "params": {"conf": golden.pop("conf")},
        "router_margin": golden.pop("router_margin"),
        "input_levels": tolerance["input_levels"],
        **golden,
    }


def _parity(parity: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    """Return the differences by the name of the output; version 1 says gates for router_probs as well."""
    found = {name: parity.pop(name) for name in ("boxes_px", "scores", "gates")}
    scores = "scores" if "scores" in outputs else "class_scores"
    differences = {"boxes": found["boxes_px"], scores: found["scores"]}
    if "gates" in outputs:
        differences["gates"] = found["gates"]
    means = parity.pop("map50_95", None)
    converted = {
        "images": parity.pop("images"),
        "distinct_expert_sets": parity.pop("distinct_expert_sets"),
        **parity,
        "differences": differences,
    }
    if means is not None:
        converted["metric"] = {"name": "map50_95", **means}
    return converted


def _refuse_rest(*parts: tuple[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for entries that version 1 does not have: their meaning would be lost."""
    for where, rest in parts:
        if rest:
            raise ValueError(f"manifest of version 1: {where} has unknown entries: {sorted(rest)}")
