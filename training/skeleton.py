"""The keypoints that a data set labels on each object, and that a pose network predicts."""

from dataclasses import dataclass
from typing import Self

from training.errors import DatasetError

DEFAULT_SIGMA = 0.05
VISIBILITIES = (0, 1, 2)  # of a labelled keypoint: not labelled, hidden, visible


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """The names of the P keypoints of an object, and the relations between keypoints."""

    names: tuple[str, ...]  # P
    flip_ids: tuple[int, ...]  # P: the keypoint that each one becomes in a mirrored image; itself if central
    edges: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a drawing connects
    sigmas: tuple[float, ...] = ()  # P: spread of correct labels, for OKS; empty: DEFAULT_SIGMA for all

    @classmethod
    def unnamed(cls, count: int) -> Self:
        """Return a skeleton with keypoints called 1, 2, …; mirroring an image does not swap any of them."""
        return cls(names=tuple(str(1 + place) for place in range(count)), flip_ids=tuple(range(count)))

    @property
    def oks_sigmas(self) -> tuple[float, ...]:
        """Return, for each of the P keypoints, how much correct labels scatter; OKS uses these numbers."""
        return self.sigmas or (DEFAULT_SIGMA,) * len(self.names)

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count or len(set(self.names)) < count:
            raise DatasetError(f"keypoints {list(self.names)}: a skeleton needs some, each named once")
        if sorted(self.flip_ids) != list(range(count)):
            raise DatasetError(f"flip_ids={list(self.flip_ids)} must name each of {count} keypoints once")
        if any(self.flip_ids[other] != point for point, other in enumerate(self.flip_ids)):
            raise DatasetError(f"flip_ids={list(self.flip_ids)} must pair keypoints: left with right")
        if any(not 0 <= end < count for edge in self.edges for end in edge):
            raise DatasetError(f"edges={list(self.edges)} must name keypoints from 0 to {count - 1}")
        if self.sigmas and (len(self.sigmas) != count or min(self.sigmas) <= 0):
            raise DatasetError(f"sigmas={list(self.sigmas)} must hold {count} positive numbers")
