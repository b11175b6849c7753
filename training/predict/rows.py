"""Convert results to rows of YOLO label files, and to values for JSON."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.masks import RunLengths
from training.predict.outline import joined, outer_rings
from training.predict.result import SEEN, Result


def label_rows(result: Result, *, conf: bool) -> list[str]:
    """Return the rows of a YOLO label file; coordinates are relative to the image's width and height, 0..1.

    Each row begins with the class id. If `conf` is true, the row ends with the score. The fields in between
    depend on what the result has:

    - boxes: centre, width and height;
    - masks: the points of the outline along pixel edges. Holes are left out, several parts are joined by
      bridges of width 0, and an object without pixels has no row;
    - keypoints: centre, width and height of the box, then x, y and 2 for each keypoint. A keypoint that is
      not visible or not in the image is 0 0 0;
    - corners: the four corners.

    A row of a classifier consists of score and name, for example "0.9300 cat".
    """
    if result.boxes_xyxy is None:
        pairs = zip(result.scores, result.class_names, strict=True)
        return [f"{score:.4f} {name}" for score, name in pairs]
    rows = []
    for row, (class_id, score) in enumerate(zip(result.class_ids, result.scores, strict=True)):
        fields = _fields(result, row)
        if fields:
            end = [f"{float(score):.6f}"] if conf else []
            rows.append(" ".join([str(class_id), *fields, *end]))
    return rows


def _fields(result: Result, row: int) -> list[str]:
    height, width = result.image.shape[:2]
    size = np.array([width, height])
    if result.masks is not None:
        rings = outer_rings(result.masks[row])
        return _numbers(joined(rings) / size) if rings else []
    if result.corners is not None:
        return _numbers(result.corners[row] / size)
    left, top, right, bottom = (float(edge) for edge in result.extents_xyxy[row])
    fields = [(left + right) / 2 / width, (top + bottom) / 2 / height]
    fields += [(right - left) / width, (bottom - top) / height]
    points = []
    if result.keypoints is not None:
        for x, y, visibility in result.keypoints[row].tolist():
            seen = visibility >= SEEN and 0 <= x <= width and 0 <= y <= height
            points += [*_numbers(np.array([x / width, y / height]) * seen), "2" if seen else "0"]
    return [*_numbers(np.array(fields)), *points]


def _numbers(values: NDArray[np.floating]) -> list[str]:
    return [f"{number:.6f}" for number in values.ravel().tolist()]


def as_document(result: Result) -> dict[str, Any]:
    """Return a result as values for JSON, with the keys of the service's answer.

    Boxes are centre and size in pixels; for oriented boxes, before the rotation. Masks are run lengths of the
    whole image in COCO's compressed form.
    """
    height, width = result.image.shape[:2]
    found = []
    for row, (class_id, name, score) in enumerate(
        zip(result.class_ids.tolist(), result.class_names, result.scores.tolist(), strict=True)
    ):
        named = {"class": name, "class_id": class_id, "confidence": round(score, 6)}
        found.append({**_place(result, row), **named, **_shape(result, row)})
    experts = {
        layer: {str(expert): round(weight, 6) for expert, weight in ran.items()}
        for layer, ran in result.experts.items()
    }
    document = {"image": {"width": width, "height": height}, "predictions": found, "experts": experts}
    if result.path is not None:
        document["path"] = {"index": result.path[0], "probability": round(result.path[1], 6)}
    return document


def _place(result: Result, row: int) -> dict[str, float]:
    if result.boxes_xyxy is None:
        return {}
    if result.corners is not None:
        corners = result.corners[row].astype(np.float64)
        along, down = corners[1] - corners[0], corners[3] - corners[0]
        x, y = corners.mean(axis=0).tolist()
        place = {"x": x, "y": y, "width": math.hypot(*along), "height": math.hypot(*down)}
    else:
        left, top, right, bottom = result.boxes_xyxy[row].tolist()
        place = {"x": (left + right) / 2, "y": (top + bottom) / 2}
        place |= {"width": right - left, "height": bottom - top}
    return {side: round(value, 3) for side, value in place.items()}


def _shape(result: Result, row: int) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    if result.masks is not None:
        runs = RunLengths.of(result.masks[row], (result.image.shape[0], result.image.shape[1]))
        shape["mask"] = {"size": list(runs.image_hw), "counts": runs.counts.decode("ascii")}
    if result.keypoints is not None:
        named = zip(result.keypoint_names, result.keypoints[row].tolist(), strict=True)
        shape["keypoints"] = [
            {"name": name, "x": round(x, 3), "y": round(y, 3), "confidence": round(visibility, 6)}
            for name, (x, y, visibility) in named
        ]
    if result.corners is not None:
        corners = result.corners[row].astype(np.float64)
        across, down = (corners[1] - corners[0]).tolist()
        # 179.9999 is rounded to 180, which is the same direction as 0.
        shape["rotation"] = round(math.degrees(math.atan2(down, across)) % 180, 3) % 180
        shape["corners"] = [[round(x, 3), round(y, 3)] for x, y in corners.tolist()]
    return shape
