"""Keep the routing of the latest images, and a slowly decaying mean of all images."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from service.routing.reference import RoutedImages, path_of

# L mixture layers · D contrasts; see reference.py


class Window:
    """The routing of the latest `span` images."""

    def __init__(self, span: int, contrasts: int, layers: int) -> None:
        """Begin empty; `contrasts` is D, `layers` is L."""
        self.span = span
        self.count = 0  # of images ever added
        self._contrasts = np.zeros((span, contrasts))
        self._sets = np.zeros((span, layers), dtype=np.uint64)
        self._entropy = np.zeros((span, layers))
        self._ranks = np.zeros(span)
        self._paths = [0] * span

    def add(self, images: RoutedImages, ranks: NDArray[np.float64]) -> None:
        """Add at most `span` images, each in place of the oldest one."""
        places = np.arange(self.count, self.count + len(images)) % self.span
        self._contrasts[places], self._sets[places] = images.contrasts, images.sets
        self._entropy[places], self._ranks[places] = images.entropy_bits, ranks
        for place, sets in zip(places.tolist(), images.sets, strict=True):
            self._paths[place] = path_of(sets)
        self.count += len(images)

    @property
    def latest(self) -> tuple[NDArray[np.float64], NDArray[np.uint64], float]:
        """Return the contrasts (D,), sets (L,) and rank of the latest image; there must have been one."""
        place = (self.count - 1) % self.span
        return self._contrasts[place].copy(), self._sets[place].copy(), float(self._ranks[place])

    @property
    def filled(self) -> int:
        """Return the number of images in the window."""
        return min(self.count, self.span)

    def mean_contrasts(self, latest: int) -> NDArray[np.float64]:
        """Return the mean contrasts (D,) of the latest images; the window must hold as many."""
        places = np.arange(self.count - latest, self.count) % self.span
        mean: NDArray[np.float64] = self._contrasts[places].mean(axis=0)
        return mean

    @property
    def sets(self) -> NDArray[np.uint64]:
        """Return the chosen sets (filled, L), in no order."""
        return self._sets[: self.filled]

    @property
    def paths(self) -> Counter[int]:
        """Return how often each path was chosen."""
        return Counter(self._paths[: self.filled])

    @property
    def entropy_bits(self) -> NDArray[np.float64]:
        """Return the mean entropy of each layer's router, (L,)."""
        mean: NDArray[np.float64] = self._entropy[: self.filled].mean(axis=0)
        return mean

    @property
    def novelty(self) -> float:
        """Return the mean rank of the images."""
        return float(self._ranks[: self.filled].mean()) if self.count else 0.5


class DecayingMean:
    """A mean in which the weight of an image falls by the factor 1 - 1/`memory` with every later image."""

    def __init__(self, memory: int, size: int) -> None:
        """Begin with no image; `size` is the length of the vectors."""
        self._keep = 1 - 1 / memory
        self._sum = np.zeros(size)
        self._weights = self._squares = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add the vectors of N images, (N, size)."""
        weights = self._keep ** np.arange(len(values))[::-1]
        kept = self._keep ** len(values)
        self._sum = self._sum * kept + weights @ values
        self._weights = self._weights * kept + weights.sum()
        self._squares = self._squares * kept**2 + (weights**2).sum()

    @property
    def mean(self) -> NDArray[np.float64]:
        """Return the weighted mean; there must have been an image."""
        return self._sum / self._weights

    @property
    def effective(self) -> float:
        """Return the number of equally weighted images whose mean would vary as much."""
        return self._weights**2 / self._squares if self._squares else 0.0
