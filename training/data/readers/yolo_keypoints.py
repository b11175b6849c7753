"""Reads the keypoints in a row of YOLO labels, and their description in data.yaml."""

import logging
from collections.abc import Sequence
from math import isfinite
from typing import Any

from training.data.labels.mirrored_names import flip_ids
from training.data.labels.object_shapes import packed_numbers
from training.data.readers.yolo_description import Description
from training.errors import DatasetError
from training.skeleton import VISIBILITIES, Skeleton

log = logging.getLogger(__name__)


def skeleton_of(described: Description) -> Skeleton:
    """Return what `kpt_shape`, `kpt_names` and `flip_idx` of data.yaml say about the keypoints.

    Keypoints without names are called 1, 2, … If there is no `flip_idx`, left and right keypoints are
    recognised by their names.

    Raises:
        DatasetError: there is no kpt_shape, or the other two do not fit kpt_shape.
    """
    if described.keypoints is None:
        raise DatasetError(
            f"{described.file}: no keypoints; declare their number and columns, such as kpt_shape: [17, 3]"
        )
    count, _ = described.keypoints
    given = described.keypoint_keys.get("kpt_names")
    if isinstance(given, dict):  # a list for each class
        given = next(iter(given.values()), None)
    if given is not None and (not isinstance(given, list) or len(given) != count):
        raise DatasetError(f"{described.file}: kpt_names must list {count} names, as kpt_shape says")
    unnamed = Skeleton.unnamed(count)
    names = tuple(map(str, given)) if given else unnamed.names
    flips = described.keypoint_keys.get("flip_idx")
    if flips is not None:
        return Skeleton(names=names, flip_ids=_checked_flips(described, flips, count))
    if given:
        return Skeleton(names=names, flip_ids=flip_ids(names, str(described.file)))
    log.warning(f"{described.file}: no flip_idx, so horizontal flips will not swap any keypoints")
    return unnamed


def packed_keypoints(values: Sequence[float], columns: int) -> bytes:
    """Return the keypoints of a row, packed as in object_shapes.py.

    If each keypoint has only two columns, x and y, it counts as visible unless both are 0.

    Raises:
        ValueError: a number is not finite, or a visibility is not 0, 1 or 2.
    """
    if not all(map(isfinite, values)):
        raise ValueError("a keypoint is not finite")
    packed: list[float] = []
    for place in range(0, len(values), columns):
        x, y = values[place : place + 2]
        visibility = values[place + 2] if columns == 3 else 2.0 * (x != 0 or y != 0)
        if visibility not in VISIBILITIES:
            raise ValueError("the visibility of a keypoint is not 0, 1 or 2")
        if visibility and not (-1 <= x < 2 and -1 <= y < 2):
            raise ValueError("keypoints must be fractions of the image, 0..1")
        packed += x, y, visibility
    return packed_numbers(packed)


def _checked_flips(described: Description, flips: Any, count: int) -> tuple[int, ...]:
    try:
        found = tuple(map(int, flips))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{described.file}: flip_idx: {flips}: must list numbers of keypoints") from error
    paired = sorted(found) == list(range(count)) and all(found[other] == i for i, other in enumerate(found))
    if not paired:
        raise DatasetError(
            f"{described.file}: flip_idx: {list(found)} must name each of the {count} keypoints "
            f"0..{count - 1} once, and pair left with right"
        )
    return found
