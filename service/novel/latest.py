"""Decide whether a score is among the highest of the latest images."""

from bisect import bisect_left, insort
from collections import deque
from math import ceil

SPAN = 1000  # images that an image is compared with
_LEAST = 100  # with fewer images, the rank decides


class Latest:
    """The scores of the latest images of one model."""

    def __init__(self, share: float) -> None:
        """Begin without images; `share` of the images count as novel."""
        self._share = share
        self._latest: deque[float] = deque()
        self._ascending: list[float] = []

    def add(self, score: float, rank: float) -> bool:
        """Add an image; return whether its score is in the highest share of the latest ones.

        For the first images, decide by the image's rank among the baseline's images instead.
        """
        self._latest.append(score)
        insort(self._ascending, score)
        if len(self._latest) > SPAN:
            oldest = self._latest.popleft()
            del self._ascending[bisect_left(self._ascending, oldest)]
        if len(self._latest) < _LEAST:
            return rank >= 1 - self._share
        return score >= self._ascending[-ceil(self._share * len(self._ascending))]
