"""Convert a manifest of schema_version 1 to version 2; only this module knows the keys of version 1.

Identical copies of this module are in training/export/artifact, service/artifact, clients and every Triton
model `<model>-<target>-nms`. The module imports only the standard library.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

STRIDES = (8, 16, 32)  # pixels of a cell on each of the three levels; one anchor for each cell

# A anchors of all levels · C classes · N candidates · L mixture layers · E experts of the widest layer


def upgrade(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest converted to version 2; return a manifest of version 2 unchanged.

    Keys that version 1 does not define stay where they are, so that a strict reader refuses them.

    Raises:
        ValueError: the version is neither 1 nor 2, or an entry of version 1 is missing or has a wrong type.
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
    tolerance = golden.pop("tolerance")
    selection = {key: selected.pop(key) for key in ("selection", "candidates")}
    _refuse_rest("outputs", selected)
    outputs = _outputs(old, image, tolerance, **selection)
    del old["schema_version"]
    identity = {key: old.pop(key) for key in ("name", "target", "version", "variant", "created")}
    files = old.pop("files")
    return {
        "schema_version": 2,
        **identity,
        "files": files,
        "graphs": [{"name": "model", "file": file} for file in files if file.endswith((".xml", ".onnx"))],
        **{key: old.pop(key) for key in ("precision", "execution", "routing")},
        "batch": image.pop("batch"),
        "inputs": _inputs(image, controls),
        "outputs": outputs,
        "task": old.pop("task"),
        "task_settings": {**selection, "defaults": old.pop("defaults")},
        "golden": _golden(golden, tolerance),
        "parity": _parity(parity, [row["name"] for row in outputs]),
        **old,
    }


def _row(name: str, dtype: str, sizes: Sequence[int], role: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "dims": ["B", *sizes], "role": role, **facts}


def _inputs(image: dict[str, Any], controls: dict[str, Any]) -> list[dict[str, Any]]:
    sizes = [image.pop("height"), image.pop("width"), 3]
    inputs = [_row(image.pop("name"), "u8", sizes, "images", {"resize": image.pop("resize")})]
    top_k, threshold = controls.pop("top_k"), controls.pop("weight_threshold")
    if top_k is not None:
        inputs.append(_row("top_k", "i64", [1], "control", top_k))
    if threshold is not None:
        inputs.append(_row("weight_threshold", "f32", [1], "control", {"range": [0, 1], **threshold}))
    _refuse_rest("input", image)
    _refuse_rest("controls", controls)
    return inputs


def _outputs(
    old: Mapping[str, Any],
    image: Mapping[str, Any],
    limits: Mapping[str, Any],
    selection: str,
    candidates: int,
) -> list[dict[str, Any]]:
    """Return the list of outputs for version 2; version 1 has the outputs' tolerances in golden.tolerance."""

    def output(
        name: str, dtype: str, sizes: Sequence[int], role: str, limit: float, relative: float = 0
    ) -> None:
        rows.append(_row(name, dtype, sizes, role, {"tolerance": {"absolute": limit, "relative": relative}}))

    rows: list[dict[str, Any]] = []
    anchors = sum((image["height"] // stride) * (image["width"] // stride) for stride in STRIDES)
    classes, layers = len(old["class_names"]), old["mixture"]
    found = min(candidates, anchors * classes) if selection == "graph" else anchors
    output("boxes", "f32", [found, 4], "boxes_xyxy", limits["boxes_px"], limits["boxes_relative"])
    if selection == "graph":
        output("scores", "f32", [found], "scores", limits["scores"])
        output("class_ids", "i32", [found], "class_ids", 0)
    else:
        output("class_scores", "f32", [anchors, classes], "class_scores", limits["scores"])
    for name in ("gates", "router_probs") if layers else ():
        sizes = [len(layers), max(layer["num_experts"] for layer in layers)]
        output(name, "f32", sizes, name, limits["gates"])
    return rows


def _golden(golden: dict[str, Any], tolerance: Mapping[str, Any]) -> dict[str, Any]:
    controls = {name: golden.pop(name) for name in ("top_k", "weight_threshold")}
    known = {"boxes_px", "boxes_relative", "scores", "gates", "input_levels"}
    _refuse_rest("golden.tolerance", {key: tolerance[key] for key in tolerance if key not in known})
    return {
        "controls": {name: value for name, value in controls.items() if value is not None},
        "params": {"conf": golden.pop("conf")},
        "router_margin": golden.pop("router_margin"),
        "input_levels": tolerance["input_levels"],
        **golden,
    }


def _parity(parity: dict[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
    """Return the entry `parity` for version 2; the difference of gates also stands for router_probs."""
    scores = "scores" if "scores" in outputs else "class_scores"
    names = {"boxes_px": "boxes", "scores": scores, "gates": "gates"}
    differences = {name: parity.pop(key) for key, name in names.items()}
    means = parity.pop("map50_95", None)
    return {
        "images": parity.pop("images"),
        "distinct_expert_sets": parity.pop("distinct_expert_sets"),
        **parity,
        "differences": {name: differences[name] for name in differences if name in outputs},
        **({} if means is None else {"metric": {"name": "map50_95", **means}}),
    }


def _refuse_rest(where: str, rest: Mapping[str, Any]) -> None:
    """Raise ValueError for entries that version 1 does not define, because the conversion would lose them."""
    if rest:
        raise ValueError(f"manifest of version 1: {where} has unknown entries: {sorted(rest)}")
