"""Reads the keypoints of each object in a COCO file, and their names from the file's categories.

Source: the data format at https://cocodataset.org/#format-data. The coordinates are used as written, without
an offset.
"""

import logging
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from training.data.labels.mirrored_names import flip_ids
from training.data.labels.object_shapes import packed_numbers
from training.errors import DatasetError
from training.skeleton import VISIBILITIES, Skeleton

log = logging.getLogger(__name__)

# Spread of correct labels of COCO's 17 keypoints of a person, from cocoeval.py of the COCO API.
PERSON = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee"),
    *("right_knee", "left_ankle", "right_ankle"),
)
PERSON_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107),
    *(0.087, 0.087, 0.089, 0.089),
)


def packed_keypoints(entry: dict[str, Any]) -> bytes:
    """Return the keypoints of an annotation, packed as in object_shapes.py; empty if it has none.

    Raises:
        ValueError: the keypoints are malformed.
    """
    try:
        values = [float(value) for value in entry.get("keypoints") or ()]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("keypoints are not x, y, visibility of each") from error
    if len(values) % 3 or not all(map(isfinite, values)):
        raise ValueError("keypoints are not x, y, visibility of each")
    if any(visibility not in VISIBILITIES for visibility in values[2::3]):
        raise ValueError("the visibility of a keypoint is not 0, 1 or 2")
    return packed_numbers(values)


def skeleton_of(path: Path, categories: Sequence[dict[str, Any]], counts: set[int]) -> Skeleton:
    """Return the names, pairs and edges of the keypoints; keypoints without names are called 1, 2, …

    Args:
        path: the COCO file, for messages.
        categories: the entries of `categories` in the file.
        counts: the numbers of keypoints that the annotations have.

    Raises:
        DatasetError: there are no keypoints, objects or categories have different numbers of keypoints, or
            names or edges are malformed.
    """
    named = [each for each in categories if each.get("keypoints")]
    for each in named:
        if not isinstance(each["keypoints"], list) or len(set(map(str, each["keypoints"]))) < len(
            each["keypoints"]
        ):
            raise DatasetError(f"{path}: category {each['name']}: keypoints must list different names")
    lists = [tuple(map(str, each["keypoints"])) for each in named]
    lengths = sorted({*map(len, lists), *counts})
    if not lengths:
        raise DatasetError(
            f"{path}: has no keypoints; give a file whose annotations and categories have them"
        )
    if len(lengths) > 1:
        raise DatasetError(
            f"{path}: objects with {' and '.join(map(str, lengths))} keypoints; a model predicts the same "
            "number for every class: keep classes of one number, and correct the others"
        )
    if len(set(lists)) > 1:
        log.warning(
            f"{path}: categories name their keypoints differently; the names of {named[0]['name']} count"
        )
    if not lists:
        log.warning(f"{path}: keypoints have no names, so horizontal flips will not swap any")
        return Skeleton.unnamed(lengths[0])
    names = lists[0]
    return Skeleton(
        names=names,
        flip_ids=flip_ids(names, str(path)),
        edges=_edges(path, named[0], len(names)),
        sigmas=PERSON_SIGMAS if names == PERSON else (),
    )


def _edges(path: Path, category: dict[str, Any], count: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of keypoints that edges join, counted from 0; COCO counts keypoints from 1."""
    try:
        edges = [(int(first) - 1, int(second) - 1) for first, second in category.get("skeleton") or ()]
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: category {category['name']}: skeleton must list pairs of numbers"
        ) from error
    if any(not 0 <= end < count for edge in edges for end in edge):
        raise DatasetError(
            f"{path}: category {category['name']}: skeleton must name keypoints from 1 to {count}"
        )
    return tuple(edges)
