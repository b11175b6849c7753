"""Keep the routing of the latest images, and a slowly decaying mean of all images."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from service.routing.reference import RoutedImage, path_of

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

    def add(self, image: RoutedImage, rank: float) -> None:
        """Add an image in place of the oldest one."""
        place = self.count % self.span
        self._contrasts[place], self._sets[place] = image.contrasts, image.sets
        self._entropy[place], self._ranks[place] = image.entropy_bits, rank
        self._paths[place] = path_of(image.sets)
        self.count += 1

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

    def add(self, value: NDArray[np.float64]) -> None:
        """Add the vector of an image."""
        self._sum = self._sum * self._keep + value
        self._weights = self._weights * self._keep + 1
        self._squares = self._squares * self._keep**2 + 1

    @property
    def mean(self) -> NDArray[np.float64]:
        """Return the weighted mean; there must have been an image."""
        return self._sum / self._weights

    @property
    def effective(self) -> float:
        """Return the number of equally weighted images whose mean would vary as much."""
        return self._weights**2 / self._squares if self._squares else 0.0
