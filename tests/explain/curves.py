"""Measures a map: hides its highest cells first (deletion), or shows them first (insertion)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.explain.attribution import plan, strongest
from tests.explain.candidates import BASELINES, FILLS, Probe, at_random, fitted, of_the_service

STEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)  # shares of the cells that are hidden
OURS = "the service's map"
OTHER_IMAGE = "the map of another image"
OTHER_LAYER = "the map of another layer"
_RANDOM_ORDERS = 3


@dataclass(frozen=True)
class Measured:
    """The curves of one image."""

    effects: NDArray[np.float64]  # (layers, rows, cols), the service's map
    deletion: dict[
        str, dict[str, NDArray[np.float64]]
    ]  # fill, then map: (layers,) mean fall; higher is better
    insertion: dict[str, NDArray[np.float64]]  # by map: (layers,) mean rise over the hidden image
    stability: NDArray[np.float64]  # (layers,) correlation of two maps from different random masks
    expert_changes: dict[str, NDArray[np.float64]]  # by map: (layers,) whether a hidden quarter changes it


def measure(probe: Probe, another: NDArray[np.float64] | None) -> Measured:
    """Return the curves of an image; `another` is the service's map of another image of the same dataset."""
    grid, layers = probe.grid, len(probe.whole)
    ours = of_the_service(probe)
    maps = {OURS: ours} | {name: _per_layer(make(probe), layers) for name, make in BASELINES.items()}
    if another is not None:
        maps[OTHER_IMAGE] = fitted(another, grid)
    deletion: dict[str, dict[str, NDArray[np.float64]]] = {}
    for fill in FILLS:
        tables = {name: _falls(probe, one, fill) for name, one in maps.items()}
        deletion[fill] = {name: _own(table) for name, table in tables.items()}
        deletion[fill][OTHER_LAYER] = _others(tables[OURS])
        further = [
            _falls(probe, _per_layer(at_random(i)(probe), layers), fill) for i in range(1, _RANDOM_ORDERS)
        ]
        deletion[fill]["random cells"] = np.mean(
            [deletion[fill]["random cells"], *map(_own, further)], axis=0
        )
    all_hidden = probe.falls(np.ones((1, grid.rows, grid.cols), dtype=bool), "mean")[0]
    insertion = {
        name: all_hidden - _own(_falls(probe, one, "mean", shown=True)) for name, one in maps.items()
    }
    second = of_the_service(probe, plan(grid, seed=9))
    stability = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(ours, second, strict=True)])
    changes = {name: _changes(probe, one) for name, one in maps.items()}
    return Measured(ours, deletion, insertion, stability, changes)


def _per_layer(one: NDArray[np.float64], layers: int) -> NDArray[np.float64]:
    return one if one.ndim == 3 else np.broadcast_to(one, (layers, *one.shape))


def _falls(probe: Probe, one: NDArray[np.float64], fill: str, *, shown: bool = False) -> NDArray[np.float64]:
    """Return the mean fall over the steps, (maps, layers); the map of each layer is used for every layer."""
    known: dict[bytes, NDArray[np.float64]] = {}
    table = np.zeros((len(one), len(probe.whole)))
    for i, effect in enumerate(one):
        for step in STEPS:
            cells = strongest(effect, step)
            mask = ~cells if shown else cells
            if mask.tobytes() not in known:
                known[mask.tobytes()] = probe.falls(mask[None], fill)[0]
            table[i] += known[mask.tobytes()] / len(STEPS)
    return table


def _own(table: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diagonal(table).copy()


def _others(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each layer the mean over the maps of the other layers."""
    layers = len(table)
    return (table.sum(axis=0) - np.diagonal(table)) / max(1, layers - 1)


def _changes(probe: Probe, one: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each layer whether another expert comes first when a quarter of the cells is hidden."""
    changed = np.zeros(len(one))
    for i, effect in enumerate(one):
        hidden = probe.hidden(strongest(effect, 0.25), "mean")
        changed[i] = probe.router.probabilities(hidden)[i].argmax() != probe.experts[i]
    return changed
