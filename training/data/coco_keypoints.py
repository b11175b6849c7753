"""The keypoints that the categories of a COCO file describe."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.data.skeleton import Skeleton
from training.errors import DatasetError

log = logging.getLogger(__name__)

# Names in which one word tells left from right, as left_eye, eye-L and RightHand.
SIDES = (("left", "right"), ("l", "r"))


def read_skeleton(categories: Sequence[Mapping[str, Any]], path: Path) -> Skeleton:
    """Return the keypoints that all categories share.

    COCO files do not state which keypoints change places in a mirrored image. Keypoints whose names differ
    only in left and right do; all others stay.

    Raises:
        DatasetError: no category has keypoints, or two categories have different ones.
    """
    described = [each for each in categories if each.get("keypoints")]
    if not described:
        raise DatasetError(f"{path}: no category lists keypoints; give a COCO file with keypoints")
    names = tuple(str(name) for name in described[0]["keypoints"])
    for each in described:
        if tuple(map(str, each["keypoints"])) != names:
            raise DatasetError(
                f"{path}: the categories {described[0].get('name')} and {each.get('name')} have different "
                "keypoints, which one model cannot learn; keep the categories with the same keypoints"
            )
    try:
        edges = tuple((int(a) - 1, int(b) - 1) for a, b in described[0].get("skeleton") or ())
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: the skeleton is not a list of pairs of keypoints ({error})") from error
    flip_ids = mirrored(names)
    if flip_ids == tuple(range(len(names))):
        log.warning(f"{path}: no keypoint is named left or right, so none changes places in mirrored images")
    return Skeleton(names=names, flip_ids=flip_ids, edges=edges)


def mirrored(names: Sequence[str]) -> tuple[int, ...]:
    """Return for each keypoint the one that it becomes in a mirrored image; itself, if it has no side."""
    words = [tuple(_words(name)) for name in names]
    return tuple(next((i for i in _others(words, place)), place) for place in range(len(names)))


def _others(words: Sequence[tuple[str, ...]], place: int) -> list[int]:
    swap = {one: other for pair in SIDES for one, other in (pair, pair[::-1])}
    mine = words[place]
    if sum(word in swap for word in mine) != 1:
        return []
    wanted = tuple(swap.get(word, word) for word in mine)
    return [i for i, other in enumerate(words) if other == wanted] if words.count(wanted) == 1 else []


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case, divided at signs and at capitals."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
