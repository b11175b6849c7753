"""Read what each route of a model with paths returned for the golden image, and compare new outputs with it.

An exporter stores a part of the outputs of each route in golden.npz. Earlier artifacts have no such arrays.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import Golden
from service.artifact.manifest import Manifest
from service.artifact.paths import PathRoute
from service.artifact.tensors import OutputRow
from service.errors import ArtifactBroken, ArtifactMismatch
from service.types import RawOutputs

# R routes · K stored rows of a route · M stored values of an output

_PREFIX = "routes_"
_ROWS = f"{_PREFIX}rows"  # (R, K) rows of the outputs that have one row for each box; -1: fewer than K
_CLASS_IDS = "class_ids"
_SCORES = ("scores", "class_scores")
_OF_ROWS = ("boxes_xyxy", *_SCORES, _CLASS_IDS, "mask_coefficients", "keypoints", "angles")  # roles
_SAMPLED = ("probabilities", "prototypes")  # roles of which single values are stored

_LEAST_LIMIT = 1e-12  # to divide by

Array = NDArray[Any]


@dataclass(frozen=True)
class RouteAnswer:
    """A part of the outputs of one route for the golden image: its best boxes, or some of its values."""

    route: PathRoute
    rows: NDArray[np.int64]  # (K,) of the best boxes, highest score first; empty for a classifier
    of_rows: tuple[tuple[OutputRow, Array], ...]  # each output with its values in `rows`, (K, …)
    sampled: tuple[tuple[OutputRow, NDArray[np.int64], Array], ...]  # output, places when flat (M,), values

    def check(self, outputs: RawOutputs) -> None:
        """Compare the outputs of the route's graph for a batch of golden images, by name.

        If the graph selects the boxes, a box is compared with the nearest one of its class, because boxes
        with equal scores can swap places. Otherwise, the same rows are compared. The best scores are also
        compared in descending order, so that a box that the exporter did not find is noticed.

        Raises:
            ArtifactMismatch: a value differs by more than its output's tolerance; the message names path,
                top_k and output.
        """
        for image in range(len(next(iter(outputs.values())))):
            of_image = {name: array[image] for name, array in outputs.items()}
            for row, places, want in self.sampled:
                self._compare(row, of_image[row.name].reshape(-1)[places], want)
            self._check_scores(of_image)
            if any(row.role == _CLASS_IDS for row, _ in self.of_rows):
                self._check_nearest(of_image)
            else:
                for row, want in self.of_rows:
                    self._compare(row, of_image[row.name][self.rows], want)

    def _check_scores(self, outputs: RawOutputs) -> None:
        for row, want in self.of_rows:
            if row.role in _SCORES:
                got = outputs[row.name]
                best, wanted = (each.reshape(len(each), -1).max(axis=1) for each in (got, want))
                self._compare(row, -np.sort(-best)[: len(wanted)], -np.sort(-wanted))

    def _check_nearest(self, outputs: RawOutputs) -> None:
        classes, wanted = next((row, want) for row, want in self.of_rows if row.role == _CLASS_IDS)
        compared = [(row, want) for row, want in self.of_rows if row is not classes]
        for i, class_id in enumerate(wanted):
            same = np.flatnonzero(outputs[classes.name] == class_id)
            if not len(same):
                raise self._mismatch(classes.name, 1.0, 0.0)
            # How far each box of the class is away in each output, in multiples of the tolerance.
            apart = np.array([_apart(row, outputs[row.name][same], want[i]) for row, want in compared])
            nearest = int(apart.max(axis=0).argmin())
            row, want = compared[int(apart[:, nearest].argmax())]
            self._compare(row, outputs[row.name][same[nearest]], want[i])

    def _compare(self, row: OutputRow, got: Array, want: Array) -> None:
        limits = row.tolerance.limits(want)
        if got.shape != want.shape:
            raise self._mismatch(row.name, float("inf"), float(limits.max(initial=0.0)))
        errors = _errors(row, got, want)
        within = errors <= limits  # written so that NaN fails too
        if not within.all():
            worst = int(np.argmax(np.where(within, -1.0, np.nan_to_num(errors - limits, nan=np.inf))))
            raise self._mismatch(row.name, float(errors.flat[worst]), float(limits.flat[worst]))

    def _mismatch(self, name: str, error: float, limit: float) -> ArtifactMismatch:
        return ArtifactMismatch(name, error, limit, self.route.where)


def read_route_answers(golden: Golden, manifest: Manifest) -> Mapping[tuple[int, int], RouteAnswer]:
    """Return the stored answer of each route by path and top_k; empty if an earlier exporter stored none.

    Raises:
        ArtifactBroken: an array is missing or does not fit the manifest.
    """
    assert manifest.paths is not None
    stored = {
        name.removeprefix(_PREFIX): array for name, array in golden.arrays.items() if name.startswith(_PREFIX)
    }
    if not stored:
        return {}
    return {answer.route.key: answer for answer in _Reader(golden.where, stored, manifest).answers()}


class _Reader:
    """The arrays of all routes, without the prefix of their names."""

    def __init__(self, where: str, stored: Mapping[str, Array], manifest: Manifest) -> None:
        self._where, self._stored, self._manifest = where, stored, manifest
        assert manifest.paths is not None
        self._routes = manifest.paths.routes

    def answers(self) -> Iterator[RouteAnswer]:
        """Yield the answer of each route, in the order of the manifest."""
        outputs = self._manifest.outputs
        by_rows = [(row, self._array(row.name)) for row in outputs if row.role in _OF_ROWS]
        sampled = [(row, self._places(row), self._array(row.name)) for row in outputs if row.role in _SAMPLED]
        rows = self._rows() if by_rows else np.zeros((len(self._routes), 0), np.int64)
        for row, values in by_rows:
            self._expect(row.name, values, (*rows.shape, *row.sizes[1:]))
        for row, places, values in sampled:
            self._expect(row.name, values, (len(self._routes), len(places)))
        for i, route in enumerate(self._routes):
            count = int((rows[i] >= 0).sum())
            yield RouteAnswer(
                route,
                rows[i, :count],
                tuple((row, values[i, :count]) for row, values in by_rows),
                tuple((row, places, values[i]) for row, places, values in sampled),
            )

    def _rows(self) -> NDArray[np.int64]:
        rows, boxes = self._array("rows"), self._manifest.output("boxes_xyxy").sizes[0]
        self._expect("rows", rows, (len(self._routes), rows.size // len(self._routes)))
        rows = rows.astype(np.int64)
        gaps = (rows[:, 1:] >= 0) & (rows[:, :-1] < 0)
        if not rows.size or (rows[:, 0] < 0).any() or gaps.any() or (rows >= boxes).any():
            raise ArtifactBroken(f"{self._where}: {_ROWS} must name rows from 0 to {boxes - 1}, then -1")
        return rows

    def _places(self, row: OutputRow) -> NDArray[np.int64]:
        name, size = f"{row.name}_places", int(np.prod(row.sizes))
        places = self._array(name)
        self._expect(name, places, (places.size,))
        if not places.size or places.min() < 0 or places.max() >= size:
            raise ArtifactBroken(f"{self._where}: {_PREFIX}{name} must name values from 0 to {size - 1}")
        return places.astype(np.int64)

    def _array(self, name: str) -> Array:
        if name not in self._stored:
            raise ArtifactBroken(f"{self._where} has no array {_PREFIX + name!r}")
        return self._stored[name]

    def _expect(self, name: str, array: Array, shape: tuple[int, ...]) -> None:
        if array.shape != shape or array.dtype.kind not in "fi":
            raise ArtifactBroken(
                f"{self._where}: {_PREFIX}{name} is {array.dtype} {array.shape}, and must be numbers {shape}"
            )


def _errors(row: OutputRow, got: Array, want: Array) -> NDArray[np.float64]:
    apart = got.astype(np.float64) - want.astype(np.float64)
    if row.role == "angles":  # a box is the same at angle + π
        apart -= pi * np.round(apart / pi)
    return np.asarray(np.abs(apart))


def _apart(row: OutputRow, got: Array, want: Array) -> NDArray[np.float64]:
    """Return for each of N boxes, (N, …), the largest error, in multiples of the tolerance."""
    limits = np.maximum(row.tolerance.limits(want), _LEAST_LIMIT)
    errors = _errors(row, got, want) / limits
    return np.asarray(errors.reshape(len(got), -1).max(axis=1))
