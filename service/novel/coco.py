"""Write kept images as a COCO data set whose annotations are the model's predictions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import ExportRefused
from service.novel.record import Record
from service.pipeline.rle import decode_rle

IMAGES = Path("images") / "default"
"""Folder of the images; the annotations are in annotations/instances_default.json, as in CVAT's exports."""


def write_coco(folder: Path, records: Sequence[Record], class_names: Sequence[str]) -> None:
    """Write annotations/instances_default.json.

    Each image has the additional key `novelty`, and each annotation `score`, the model's confidence.

    Args:
        folder: the data set.
        records: of the images; all have the same task.
        class_names: of all models.

    Raises:
        ExportRefused: the images were classified, so there are no objects.
    """
    if records and records[0].task == "classify":
        raise ExportRefused("the COCO format holds objects, and this model classifies; use label-studio")
    numbers = {name: number for number, name in enumerate(class_names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, record in enumerate(records, 1):
        images.append(
            {
                "id": image_id,
                "file_name": f"{record.id}.jpg",
                "width": record.width,
                "height": record.height,
                "novelty": {"score": record.score, "rank": record.rank, "why": record.why},
            }
        )
        for each in record.predictions:
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": numbers[each["class"]]}
            annotations.append({**row, "iscrowd": 0, "score": each["confidence"], **_shape(each, record)})
    document = {"images": images, "annotations": annotations, "categories": _categories(records, numbers)}
    path = folder / "annotations" / "instances_default.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))


def _shape(each: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """Return the box, the area and, if the model gave one, the outline, mask or keypoints of an object."""
    width, height = each["width"], each["height"]
    box = [round(each["x"] - width / 2, 3), round(each["y"] - height / 2, 3), width, height]
    shape: dict[str, Any] = {"bbox": box, "area": round(width * height, 3)}
    if "corners" in each:
        corners = np.array(each["corners"])
        low, size = corners.min(axis=0), np.ptp(corners, axis=0)
        shape |= {
            "bbox": [*low.round(3).tolist(), *size.round(3).tolist()],
            "segmentation": [corners.reshape(-1).tolist()],
        }
    match each.get("mask"):
        case {"size": size, "counts": counts}:
            area = int(decode_rle(counts, (record.height, record.width)).sum())
            shape |= {"segmentation": {"size": size, "counts": counts}, "area": area}
        case {"polygon": rings} if len(rings) == 1:  # COCO's polygons have no holes
            shape["segmentation"] = [[number for point in rings[0] for number in point]]
    if "keypoints" in each:
        points = [[one["x"], one["y"], 2 if one["confidence"] >= 0.5 else 0] for one in each["keypoints"]]
        shape["keypoints"] = [number for x, y, v in points for number in ((x, y, v) if v else (0, 0, 0))]
        shape["num_keypoints"] = sum(v > 0 for *_, v in points)
    return shape


def _categories(records: Sequence[Record], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    extra: dict[str, Any] = {}
    named = next((one for record in records for one in record.predictions if "keypoints" in one), None)
    if named is not None:
        skeleton = [[a + 1, b + 1] for a, b in records[0].skeleton or ()]
        extra = {"keypoints": [one["name"] for one in named["keypoints"]], "skeleton": skeleton}
    return [{"id": number, "name": name, **extra} for name, number in numbers.items()]
