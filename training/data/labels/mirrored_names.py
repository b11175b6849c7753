"""Finds out by the names of keypoints which of them change places in a mirrored image."""

import logging
import re
from collections.abc import Sequence

log = logging.getLogger(__name__)

# left_eye, leftEye, eye-L, LEye and paw1LH have these parts; LH is short for left hind.
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l", "lt": "rt", "rt": "lt"}
LIMBS = ("lh", "lf", "rh", "rf")  # left and right, hind and fore, as in names of paws


def flip_ids(names: Sequence[str], where: str) -> tuple[int, ...]:
    """Return for each keypoint the one that it becomes in a mirrored image; without a pair, it stays itself.

    Two names are a pair if they differ only in the words left and right, or in the letters L and R. For names
    without such a partner, numbers in the names are then ignored; so paw1LH and paw4RH are a pair. If no
    names are a pair, a warning is logged.

    Args:
        where: the file that names the keypoints, for the warning.
    """
    found = list(range(len(names)))
    for with_numbers in (True, False):
        forms = [_parts(name, with_numbers=with_numbers) for name in names]
        for place, form in enumerate(forms):
            other = tuple(map(_other_side, form))
            if found[place] == place and other != form and forms.count(form) == forms.count(other) == 1:
                partner = forms.index(other)
                if found[partner] == partner:
                    found[place], found[partner] = partner, place
    if len(names) > 1 and found == list(range(len(names))):
        log.warning(
            f"{where}: no two keypoints are named left and right ({', '.join(names)}), so horizontal flips "
            "will not swap any"
        )
    return tuple(found)


def _parts(name: str, *, with_numbers: bool) -> tuple[str, ...]:
    parts = (part.lower() for part in PARTS.findall(name))
    return tuple(part for part in parts if with_numbers or not part.isdecimal())


def _other_side(part: str) -> str:
    if part in LIMBS:
        return OTHER_SIDE[part[0]] + part[1]
    return OTHER_SIDE.get(part, part)
