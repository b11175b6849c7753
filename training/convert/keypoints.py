"""Reads the names and number of the keypoints of a foreign pose network."""

from typing import Any

from training.convert.records import Record, is_plain, shown
from training.data.labels.mirrored_names import flip_ids
from training.data.readers.coco_keypoints import PERSON, PERSON_SIGMAS
from training.errors import CheckpointError
from training.skeleton import Skeleton

KEYPOINTS_LIMIT = 1_000
# Pairs of PERSON that COCO's own drawings connect, from its annotation files.
PERSON_EDGES = (
    *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (5, 11), (6, 8), (6, 12)),
    *((7, 9), (8, 10), (11, 12), (11, 13), (12, 14), (13, 15), (14, 16)),
)


def read_skeleton(model: Record, head: Record, class_names: tuple[str, ...]) -> Skeleton:
    """Return the keypoints of a foreign pose network.

    The names come from the file if it has any. Otherwise, if the only class is a person with 17 keypoints,
    the names are COCO's. In all other cases, the keypoints are called 1, 2, …

    Args:
        model: the whole network.
        head: its last layer.

    Raises:
        CheckpointError: the file does not state the number of keypoints, or the keypoints have no visibility.
    """
    shape = head.get("kpt_shape")
    sizes = tuple(shape) if isinstance(shape, (list, tuple)) else ()
    if len(sizes) != 2 or not all(type(size) is int for size in sizes):
        raise CheckpointError(f"Pose has kpt_shape={shown(shape)}; expected the number of keypoints, and 3")
    count, values = sizes
    if not 1 <= count <= KEYPOINTS_LIMIT:
        raise CheckpointError(f"Pose has {shown(count)} keypoints; 1..{KEYPOINTS_LIMIT} can be converted")
    if values != 3:
        raise CheckpointError(
            f"Pose predicts {shown(values)} numbers for each keypoint; only x, y and visibility can be "
            "converted"
        )
    names = _written_names(model.get("kpt_names"), count)
    if names is None and count == len(PERSON) and class_names == ("person",):
        names = PERSON
    if names is None:
        return Skeleton.unnamed(count)
    person = names == PERSON
    return Skeleton(
        names=names,
        flip_ids=flip_ids(names, "the checkpoint"),
        edges=PERSON_EDGES if person else (),
        sigmas=PERSON_SIGMAS if person else (),
    )


def _written_names(written: Any, count: int) -> tuple[str, ...] | None:
    """Return the names in the file if they are the same for all classes; None if they are only numbers.

    `written` is the entry in the file: a list of names for each class.
    """
    lists = list(written.values()) if isinstance(written, dict) else []
    if not lists or any(each != lists[0] for each in lists) or not isinstance(lists[0], (list, tuple)):
        return None
    names = tuple(lists[0])
    fit = len(names) == count and all(is_plain(name) and name.strip() for name in names)
    if not fit or len(set(names)) != count or all(name.isdecimal() for name in names):
        return None
    return names
