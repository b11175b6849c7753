"""Explain the route of one image: run the graph on copies of the image with hidden cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.errors import ExplanationTooSlow
from service.explain.attribution import (
    Masks,
    effects,
    halves,
    log_odds,
    plan,
    random_cells,
    single_cells,
    strongest,
)
from service.explain.explanation import Explanation, LayerExplanation
from service.explain.grid import Grid, Region, box_in_image, mean_fill
from service.pipeline.preprocess import Placed
from service.request import Number, RequestContext
from service.traffic.routes import Route, ServedVersion
from service.traffic.turns import Lane
from service.types import ExpertActivation, PathChoice, RawOutputs

SIDES = (8, 6, 4)
"""Possible numbers of cells along the longer side of the image; the time decides which one is used."""
MARKED = 0.25  # share of the cells that are hidden to check a map
_DRAWS = 4  # of random cells, to compare with
_MOST_BATCH = 8  # images in one run; larger batches would hold up other requests
_USABLE = 0.8  # share of the remaining time that a plan may need; the rest is for slower runs


class Decision(NamedTuple):
    """What one router decided about an image."""

    layer: str  # of the router; PATH for the router of a model with paths
    chosen: int  # the most probable expert, or the path
    probability: float


PATH = "path"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image that was answered, and what is necessary to run its graph again."""

    version: ServedVersion
    placed: Placed
    experts: Sequence[ExpertActivation]  # of the answer
    controls: Mapping[str, Number]
    path: PathChoice | None = None  # of the answer; None: the model has no paths

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the version."""
        return self.version.manifest

    @cached_property
    def region(self) -> Region:
        """Return the part of the model input that shows the image."""
        return Region.of(self.placed)

    @cached_property
    def fill(self) -> NDArray[np.uint8]:
        """Return what replaces hidden cells."""
        return mean_fill(self.placed.canvas, self.region)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Return the most probable expert of each layer; for a model with paths, return only the path."""
        if self.path is not None:  # everything else follows from it
            return (Decision(PATH, self.path.index, self.path.probability),)
        best = [int(np.argmax(layer.probabilities)) for layer in self.experts]
        pairs = zip(self.experts, best, strict=True)
        return tuple(Decision(layer.layer, one, layer.probabilities[one]) for layer, one in pairs)

    @cached_property
    def whole(self) -> NDArray[np.float64]:
        """Return the log-odds of these decisions for the whole image, (decisions,)."""
        return log_odds(np.array([one.probability for one in self.decisions]))

    def probabilities(self, outputs: RawOutputs) -> NDArray[np.floating]:
        """Return the probabilities of the same experts, or path, for other images, (B, decisions)."""
        chosen = [one.chosen for one in self.decisions]
        if self.path is not None:
            return self.manifest.read(outputs, "path_probs")[:, chosen]
        rows = [layer.row for layer in self.manifest.mixture]
        return self.manifest.read(outputs, "router_probs")[:, rows, chosen]


class _Hide:
    """A job that computes, for each mask, by how much the log-odds fall when its cells are hidden."""

    terms = None

    def __init__(self, subject: Subject, grid: Grid, masks: Masks) -> None:
        self._subject, self._grid, self._masks = subject, grid, masks

    def prepare(self) -> Mapping[str, NDArray[Any]]:
        subject = self._subject
        canvases = [self._grid.hide(subject.placed.canvas, mask, subject.fill) for mask in self._masks]
        return subject.manifest.feed(np.concatenate(canvases), subject.controls)

    def finish(self, outputs: RawOutputs, infer_s: float) -> NDArray[np.float64]:
        return self._subject.whole - log_odds(self._subject.probabilities(outputs))


class _Runs:
    """The runs for one explanation. Each run waits for its own turn, so other requests come in between."""

    def __init__(self, route: Route, subject: Subject, context: RequestContext) -> None:
        self._route, self._subject, self._context = route, subject, context
        # A lane of its own, because its turns are shorter than those of other requests, and must not change
        # the predictions for these.
        self._lane = Lane("low", f"{route.model} explained", large=False)
        self._batch = batch_size(subject.manifest)
        self._began = perf_counter()
        self._last_s = 0.0
        self.images = 0

    @property
    def image_s(self) -> float:
        """Return the seconds for one image with the wait for its turn: the mean, or the latest if longer."""
        return max(self._last_s, (perf_counter() - self._began) / max(1, self.images))

    def enough_for(self, images: int) -> bool:
        """Return whether the time that is left is enough for this number of images."""
        return images * self.image_s <= _USABLE * self._context.left_s()

    async def falls(self, grid: Grid, masks: Masks, *, spare: int | None = None) -> NDArray[np.float64]:
        """Return the falls for each mask, (N, layers).

        Leave out the last masks if otherwise too little time would remain for `spare` more images. If `spare`
        is None, run all masks.
        """
        parts = [np.zeros((0, len(self._subject.decisions)))]
        for start in range(0, len(masks), self._batch):
            if spare is not None and not self.enough_for(self._batch + spare):
                break
            part = masks[start : start + self._batch]
            missing = self._batch - len(part)  # the graph may take full batches only
            whole = np.concatenate([part, *[part[-1:]] * missing])
            parts.append((await self._run(grid, whole))[: len(part)])
        return np.concatenate(parts)

    async def _run(self, grid: Grid, masks: Masks) -> NDArray[np.float64]:
        # Not `route.turn`: the wait of these runs must not make the service run fewer experts for others.
        began = perf_counter()
        async with self._route.turns.take(self._lane, self._context):
            job = _Hide(self._subject, grid, masks)
            self._context.explained.images += len(masks)
            falls = await self._route.run(self._subject.version, job, self._context, movable=False)
        self.images += len(masks)
        self._last_s = (perf_counter() - began) / len(masks)
        return falls


def batch_size(manifest: Manifest) -> int:
    """Return the number of images in one run."""
    return max((size for size in manifest.batch if size <= _MOST_BATCH), default=min(manifest.batch))


def most_runs(manifest: Manifest) -> int:
    """Return the largest number of images for which the graph runs to explain one image."""
    square = Grid(Region(0, 0, 1, 1), SIDES[0], SIDES[0])
    padding = 4 * (batch_size(manifest) - 1)  # in the last run of each group of masks
    return 1 + len(plan(square)) + len(manifest.mixture) + _DRAWS + padding


async def explain(route: Route, subject: Subject, context: RequestContext) -> Explanation:
    """Return which regions of an image moved its routers.

    The runs take turns with the lowest priority, one after the other. If the time is short, the grid is
    coarser; if the runs become slower, fewer of the random halves are hidden.

    Args:
        route: the route that answered the image.
        subject: the image and its answer.
        context: id and deadline of the request.

    Raises:
        ExplanationTooSlow: the time that is left is too short even for the coarsest grid.
        DeadlineExceeded: the runs were slower than expected, and the deadline passed.
        BackendBusy, BackendUnavailable, BackendFailed: see `service.backends.protocol.Backend.run`.
    """
    began = perf_counter()
    runs, checks = _Runs(route, subject, context), len(subject.decisions) + _DRAWS
    whole = await runs.falls(Grid(subject.region, 1, 1), np.ones((1, 1, 1), dtype=bool))
    grid = affordable_grid(subject.region, checks, runs.image_s, context.left_s())
    alone, random = single_cells(grid), halves(grid)
    falls = [await runs.falls(grid, alone), await runs.falls(grid, random, spare=checks)]
    masks = np.concatenate([alone, random])[: sum(map(len, falls))]
    found = effects(masks, np.concatenate(falls))
    marked = np.array([strongest(effect, MARKED) for effect in found])
    marked_falls = np.diagonal(await runs.falls(grid, marked))
    random_falls = (await runs.falls(grid, random_cells(grid, MARKED, _DRAWS))).mean(axis=0)
    layers = tuple(
        LayerExplanation(
            layer=one.layer,
            expert=one.chosen,
            log_odds=float(subject.whole[i]),
            effects=found[i],
            marked_fall=float(marked_falls[i]),
            random_fall=float(random_falls[i]),
            whole_fall=float(whole[0, i]),
        )
        for i, one in enumerate(subject.decisions)
    )
    return Explanation(box_in_image(subject.placed), layers, runs.images, perf_counter() - began)


def affordable_grid(region: Region, checks: int, image_s: float, left_s: float) -> Grid:
    """Return the finest grid for which the time suffices.

    Args:
        region: the image in the model input.
        checks: number of further images that are run after the masks.
        image_s: seconds for each image.
        left_s: seconds until the deadline.

    Raises:
        ExplanationTooSlow: the time is too short even for the coarsest grid.
    """
    needed_s = 0.0
    for side in SIDES:
        grid = Grid.fit(region, side)
        needed_s = (len(plan(grid)) + checks) * image_s / _USABLE
        if needed_s <= left_s:
            return grid
    raise ExplanationTooSlow(needed_s, left_s)
