"""Write kept images as tasks for Label Studio, with the model's predictions as pre-annotations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
from numpy.typing import NDArray

from service.novel.record import Record
from service.pipeline.masks import Mask
from service.pipeline.rle import decode_rle, polygons

IMAGES = Path("images")
"""Folder of the images."""

_OUTLINE_PX = 1.0  # largest distance of a proposed outline from its mask
_TAGS = {
    "detect": "RectangleLabels",
    "obb": "RectangleLabels",
    "segment": "PolygonLabels",
    "pose": "RectangleLabels",
    "classify": "Choices",
}


def write_label_studio(
    folder: Path, records: Sequence[Record], class_names: Sequence[str], prefix: str
) -> None:
    """Write tasks.json, and label_config.xml, which is the project's labelling interface.

    Args:
        folder: where to write.
        records: of the images; all have the same task.
        class_names: of all models.
        prefix: what Label Studio puts before the name of an image's file to find it.
    """
    tasks = [_task(record, prefix) for record in records]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    points = next((one for record in records for one in record.predictions if "keypoints" in one), None)
    names = [] if points is None else [one["name"] for one in points["keypoints"]]
    task = records[0].task if records else "detect"
    (folder / "label_config.xml").write_text(_config(task, class_names, names))


def _config(task: str, class_names: Sequence[str], points: Sequence[str]) -> str:
    tag, inner = _TAGS[task], "Choice" if task == "classify" else "Label"
    lines = ["<View>", '  <Image name="image" value="$image"/>', f'  <{tag} name="label" toName="image">']
    lines += [f"    <{inner} value={quoteattr(name)}/>" for name in class_names]
    lines.append(f"  </{tag}>")
    if points:
        lines.append('  <KeyPointLabels name="point" toName="image">')
        lines += [f"    <Label value={quoteattr(name)}/>" for name in points]
        lines.append("  </KeyPointLabels>")
    return "\n".join([*lines, "</View>", ""])


def _task(record: Record, prefix: str) -> dict[str, Any]:
    novelty = {"novelty": record.score, "rank": record.rank, "why": record.why}
    results = [
        part for number, each in enumerate(record.predictions) for part in _results(number, each, record)
    ]
    score = max((each["confidence"] for each in record.predictions), default=0.0)
    version = f"{record.model} version {record.version}"
    return {
        "data": {"image": f"{prefix}{record.id}.jpg", **novelty},
        "predictions": [{"model_version": version, "score": score, "result": results}],
    }


def _results(number: int, each: dict[str, Any], record: Record) -> list[dict[str, Any]]:
    """Return the regions of one prediction; lengths are in per cent of the image's width and height."""
    name, score = each["class"], each["confidence"]
    if "x" not in each:  # of the classes of an image, only the best is a proposal
        value: dict[str, Any] = {"choices": [name]}
        return [_region("c0", "choices", value, record, score)] if number == 0 else []
    if (outline := _outline(each.get("mask"), record)) is not None:
        points = (outline / (record.width, record.height) * 100).round(4).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [name]}
        return [_region(f"r{number}", "polygonlabels", value, record, score)]
    x, y = each["x"] - each["width"] / 2, each["y"] - each["height"] / 2
    if "corners" in each:
        x, y = each["corners"][0]  # Label Studio turns a rectangle around its top left corner
    value = {
        **_percent(x, y, record),
        "width": 100 * each["width"] / record.width,
        "height": 100 * each["height"] / record.height,
        "rotation": each.get("rotation", 0),
        "rectanglelabels": [name],
    }
    regions = [_region(f"r{number}", "rectanglelabels", value, record, score)]
    for place, point in enumerate(each.get("keypoints", ())):
        value = {**_percent(point["x"], point["y"], record), "width": 0.5, "keypointlabels": [point["name"]]}
        region = _region(f"r{number}p{place}", "keypointlabels", value, record, point["confidence"])
        regions.append({**region, "from_name": "point", "parentID": f"r{number}"})
    return regions


def _region(name: str, kind: str, value: dict[str, Any], record: Record, score: float) -> dict[str, Any]:
    return {
        "id": name,
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": record.width,
        "original_height": record.height,
        "image_rotation": 0,
        "score": score,
        "value": value,
    }


def _percent(x: float, y: float, record: Record) -> dict[str, float]:
    return {"x": 100 * x / record.width, "y": 100 * y / record.height}


def _outline(mask: Any, record: Record) -> NDArray[Any] | None:
    """Return the outline (points, 2) of a mask's largest part; holes are lost. None without a mask."""
    match mask:
        case {"counts": counts}:
            rings = polygons(_runs(decode_rle(counts, (record.height, record.width))))
        case {"polygon": lists}:
            rings = [np.array(ring, dtype=np.int32) for ring in lists]
        case _:
            return None
    if not rings:
        return None
    # The outline goes along the edges of pixels, in steps; a person who corrects it wants fewer points.
    return cv2.approxPolyDP(max(rings, key=cv2.contourArea), _OUTLINE_PX, closed=True)[:, 0]


def _runs(filled: NDArray[np.bool_]) -> Mask:
    """Return the vertical runs of a mask (H, W)."""
    edges = np.diff(np.pad(filled.T, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    columns, starts = np.nonzero(edges == 1)
    return Mask(columns, starts, np.nonzero(edges == -1)[1])
