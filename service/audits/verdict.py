"""Define the verdict on one audited image: the differences between two answers, and whether they count."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "experts", "missing", "extra", "box", "score", "class", "mask", "keypoint", "angle", "not-a-number"
]
"""What differs. "missing": only the reference has the box. "extra": only the audited answer has it."""


@dataclass(frozen=True)
class Difference:
    """One difference between the audited answer and the reference's answer."""

    kind: Kind
    where: str  # the layer, or the class and the position of the box
    by: float | None = None  # size of the difference; None if it has none
    limit: float | None = None  # largest size that counts as agreement; None if there is none


@dataclass(frozen=True)
class Verdict:
    """The result of one comparison."""

    differences: tuple[Difference, ...]  # beyond the limits, even if the answers agree on the whole
    agrees: bool
