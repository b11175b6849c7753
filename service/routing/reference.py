"""Prepare the measured routing of an artifact for comparison with served images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.routing_file import MeasuredRouting
from service.request import Number
from service.routing.statistics import counted
from service.types import ExpertActivation

# N images of the baseline · L mixture layers · E experts of a layer
# D contrasts: the sum of E - 1 over the layers

LEAST_IMAGES = 100  # of a baseline; with fewer, its covariance says little
_LEAST_LOG = -7.0  # as in the exporter: smaller log-probabilities are noise
_SHRINKAGE = 0.02  # of the covariance towards its diagonal; with less, rare images raise false alarms
_LEAST_VARIANCE = 1e-4  # of a contrast, so that a layer that never varies cannot raise alarms by rounding
_NEIGHBOUR = 3  # novelty is the distance to this neighbour in the baseline
_MOST_NEIGHBOURS = 1000  # images that novelty is computed with
_SAME = 0.05  # squared distance below which two images took one path: the file's numbers are rounded
_SPREAD = 0.1  # added to each contrast's deviation when distances are computed


Experts = Sequence[ExpertActivation]
"""The experts of one image, for each layer in order."""


@dataclass(frozen=True)
class RoutedImages:
    """The routing of N images, as numbers, which are all finite."""

    contrasts: NDArray[np.float64]  # (N, D)
    sets: NDArray[np.uint64]  # (N, L) bit e is set if expert e ran
    entropy_bits: NDArray[np.float64]  # (N, L)

    def __len__(self) -> int:
        """Return N."""
        return len(self.contrasts)

    def at(self, places: NDArray[np.int64]) -> Self:
        """Return the images at some positions."""
        return type(self)(self.contrasts[places], self.sets[places], self.entropy_bits[places])


class Layers:
    """The mixture layers of a model, and the conversion of expert activations to numbers.

    A contrast is the log-probability of an expert relative to the mean of its layer. The last expert of each
    layer is left out, because the contrasts of a layer sum to 0.
    """

    def __init__(self, names: Sequence[str], experts: Sequence[int], *, of_paths: bool = False) -> None:
        """Prepare layers with these names and numbers of experts.

        `of_paths`: the model chooses one of a few paths, which say everything about an image's routing. So
        contrasts have a few values only, and tests of their means say less than the test of the paths.
        """
        self.of_paths = of_paths
        self.names = tuple(names)
        self.experts = tuple(experts)
        starts = np.cumsum([0, *(count - 1 for count in experts)])
        self.parts = tuple(slice(a, b) for a, b in pairwise(starts.tolist()))
        self._to_contrasts = np.zeros((int(starts[-1]), sum(experts)))
        column = 0
        for part, count in zip(self.parts, experts, strict=True):
            block = np.eye(count) - 1 / count
            self._to_contrasts[part, column : column + count] = block[:-1]
            column += count

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return the layers of a manifest."""
        rows = manifest.mixture
        has_paths = manifest.paths is not None
        return cls([row.layer for row in rows], [row.num_experts for row in rows], of_paths=has_paths)

    def images(self, images: Sequence[Experts]) -> RoutedImages:
        """Return the routing of images; each has one entry for each layer, in order."""
        flat = np.array([[p for layer in experts for p in layer.probabilities] for experts in images])
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(flat), _LEAST_LOG)
        sets = [[sum(1 << expert for expert in layer.active) for layer in experts] for experts in images]
        entropy = [[layer.entropy_bits for layer in experts] for experts in images]
        return RoutedImages(logs @ self._to_contrasts.T, np.array(sets, dtype=np.uint64), np.array(entropy))

    def contrasts(self, log_probs: NDArray[np.floating], rows: Sequence[int]) -> NDArray[np.float64]:
        """Return contrasts (N, D) of log-probabilities (N, L, widest E); `rows` names each layer's row."""
        flat = [log_probs[:, row, :count] for row, count in zip(rows, self.experts, strict=True)]
        return np.maximum(np.concatenate(flat, axis=1).astype(np.float64), _LEAST_LOG) @ self._to_contrasts.T


@dataclass(frozen=True)
class Reference:
    """What is expected of images at one setting of the controls."""

    controls: Mapping[str, Number]
    images: int
    mean: NDArray[np.float64]  # (D,)
    inverse: NDArray[np.float64]  # (D, D) inverse of the covariance
    layer_inverses: tuple[NDArray[np.float64], ...]  # L
    sets: tuple[Counter[int], ...]  # L; how often each set of experts was chosen
    paths: Counter[int]  # how often each path was chosen; a path is the hash of a tuple of sets
    shares: tuple[NDArray[np.float64], ...]  # L; (E,) share of images that chose each expert
    entropy_bits: NDArray[np.float64]  # (L, 2) mean and variance of each router's entropy
    _scale: NDArray[np.float64] = field(repr=False)  # (D,)
    _neighbours: NDArray[np.float32] = field(repr=False)  # (M, D) scaled contrasts
    _norms: NDArray[np.float32] = field(repr=False)  # (M,) squared length of each neighbour
    _distances: NDArray[np.float64] = field(repr=False)  # (M,) of each neighbour to the others, ascending
    _same: float  # distances below it count as 0

    @classmethod
    def of(cls, measured: MeasuredRouting, layers: Layers, rows: Sequence[int]) -> Self | None:
        """Return the reference of one setting; None if the baseline has fewer than LEAST_IMAGES images.

        Args:
            measured: the routing of the baseline's images.
            layers: the model's layers.
            rows: row of each layer in the measured arrays.
        """
        contrasts, sets = layers.contrasts(measured.log_probs, rows), measured.sets[:, list(rows)]
        if len(contrasts) < LEAST_IMAGES:
            return None
        covariance = np.atleast_2d(np.cov(contrasts.T))
        diagonal = np.diag(np.diag(covariance) + _LEAST_VARIANCE)
        covariance = (
            (1 - _SHRINKAGE) * covariance + _SHRINKAGE * diagonal + _LEAST_VARIANCE * np.eye(len(covariance))
        )
        scale = np.sqrt(np.diag(covariance)) + _SPREAD
        some = np.linspace(0, len(contrasts) - 1, min(len(contrasts), _MOST_NEIGHBOURS)).round().astype(int)
        neighbours = (contrasts[some] / scale).astype(np.float32)
        same = _SAME if layers.of_paths else 0.0
        return cls(
            controls=dict(measured.controls),
            images=len(contrasts),
            mean=contrasts.mean(axis=0),
            inverse=_inverse(covariance),
            layer_inverses=tuple(_inverse(covariance[part, part]) for part in layers.parts),
            sets=tuple(counted(sets[:, layer]) for layer in range(len(layers.names))),
            paths=Counter(path_of(row) for row in sets),
            shares=tuple(
                np.diag(chosen_together(sets[:, layer], count)) for layer, count in enumerate(layers.experts)
            ),
            entropy_bits=_entropies(measured.log_probs, rows, layers.experts),
            _scale=scale,
            _neighbours=neighbours,
            _norms=(neighbours**2).sum(axis=1),
            _distances=_own_distances(neighbours, same),
            _same=same,
        )

    def ranks(self, contrasts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rank of each image, (N,): which share of the baseline's images is less unusual than it.

        An image is the more unusual, the farther it lies from its nearest images of the baseline. An image
        whose routing is unlike that of all images of the baseline has rank 1. Without drift, ranks are
        uniform from 0 to 1. With paths, many images have the distance 0; they get half of their share as
        their rank, so that the mean is still 0.5.

        Args:
            contrasts: (N, D) of the images.
        """
        nearest, count = self._nearest(contrasts), len(self._distances)
        ranks = np.searchsorted(self._distances, nearest) / count
        if self._same:  # these images are on a path that images of the baseline took, too
            ranks[nearest == 0] = np.searchsorted(self._distances, 0.0, side="right") / count / 2
        return np.asarray(ranks)

    def rarity(self, contrasts: NDArray[np.float64]) -> float:
        """Return how far an image (D,) lies from the baseline; 95 % of the baseline's images have at most 1.

        Unlike the rank, the rarity still grows when an image lies farther away than every image of the
        baseline.
        """
        return float(np.sqrt(max(0.0, self._nearest(contrasts[None])[0]))) / self._far

    def place(self, contrasts: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return coordinates (D,) of an image, in which a rarity of 1 is a distance of 1."""
        return (contrasts / (self._scale * self._far)).astype(np.float32)

    @property
    def _far(self) -> float:
        """Return the distance that 95 % of the baseline's images do not exceed."""
        return float(np.sqrt(max(self._distances[int(0.95 * (len(self._distances) - 1))], _LEAST_VARIANCE)))

    def _nearest(self, contrasts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squared distance of each image (N, D) to its _NEIGHBOUR-th nearest baseline image."""
        # |a - b|² = |a|² + |b|² - 2 ab: the product takes a tenth of the time of a - b. einsum, because BLAS
        # might start threads for it.
        scaled = (contrasts / self._scale).astype(np.float32)
        squares = self._norms - 2 * np.einsum("md,nd->nm", self._neighbours, scaled)
        nearest = np.partition(squares, _NEIGHBOUR - 1, axis=1)[:, _NEIGHBOUR - 1] + (scaled**2).sum(axis=1)
        return np.where(nearest < self._same, 0.0, nearest.astype(np.float64))


def path_of(sets: NDArray[np.uint64]) -> int:
    """Return a number that stands for the sets (L,) that all layers chose for an image."""
    return hash(tuple(sets.tolist()))


def chosen_together(sets: NDArray[np.uint64], experts: int) -> NDArray[np.float64]:
    """Return the share of images that chose each pair of experts, (E, E), from the chosen sets (N,).

    The diagonal holds the share of images that chose each expert.
    """
    bits = np.uint64(1) << np.arange(experts, dtype=np.uint64)
    chosen = ((sets[:, None] & bits) > 0).astype(np.float64)  # (N, E)
    both: NDArray[np.float64] = chosen.T @ chosen / len(sets)
    return both


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _own_distances(neighbours: NDArray[np.float32], same: float) -> NDArray[np.float64]:
    """Return the squared distance of each row to its _NEIGHBOUR-th nearest other row, ascending.

    Distances below `same` count as 0.
    """
    found = [
        np.partition(((neighbours - row) ** 2).sum(axis=1), _NEIGHBOUR)[_NEIGHBOUR] for row in neighbours
    ]
    distances = np.sort(np.array(found, dtype=np.float64))
    distances[distances < same] = 0
    return distances


def _entropies(
    log_probs: NDArray[np.float32], rows: Sequence[int], experts: Sequence[int]
) -> NDArray[np.float64]:
    found = []
    for row, count in zip(rows, experts, strict=True):
        logs = log_probs[:, row, :count].astype(np.float64)
        bits = -(np.exp(logs) * logs).sum(axis=1) / np.log(2)
        found.append((bits.mean(), bits.var(ddof=1)))
    return np.array(found)
