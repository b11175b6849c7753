"""Counts how often the service reports drift in streams that differ from the baseline by chance only."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.routing.reference import Layers, Reference
from service.routing.watch import STEP, Watch
from tests.drift.routed import Routed

PART = 25_000  # images of one stream; each stream has a baseline of its own
_JITTER = 0.1  # deviation that the simulation adds to log-probabilities, so that no two images are equal


@dataclass(frozen=True)
class Counted:
    """Images of the streams, and the false alarms among them."""

    images: int
    alarms: int


def bootstrap(pool: Routed, layers: Layers, baseline: int, seed: int) -> Counted:
    """Return the false alarms in one stream of real images; baseline and stream are drawn from one pool."""
    rng = np.random.default_rng(seed)
    base = pool.take(rng.integers(0, len(pool), baseline))
    return _watched(base, pool, layers, rng)


def simulation(pool: Routed, layers: Layers, baseline: int, seed: int, top_k: int = 2) -> Counted:
    """Return the false alarms in one stream of simulated images.

    Each simulated image has the routing of a real one, with random changes of the log-probabilities; its
    experts are the top_k most probable ones.
    """
    rng = np.random.default_rng(seed)
    large = pool.take(rng.integers(0, len(pool), 10 * len(pool)))
    logs = large.log_probs + rng.normal(0, _JITTER, large.log_probs.shape)
    logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    best = np.argsort(-logs, axis=-1)[..., :top_k].astype(np.uint64)
    sets = (np.uint64(1) << best).sum(axis=-1, dtype=np.uint64)
    bits = -(np.exp(logs) * logs).sum(axis=-1) / np.log(2)
    own = Routed(logs.astype(np.float32), sets, bits, *(getattr(large, name) for name in _REST))
    return _watched(own.take(rng.integers(0, len(own), baseline)), own, layers, rng)


_REST = ("confidence", "mean_confidence", "objects", "brightness", "contrast", "origin")


def _watched(base: Routed, pool: Routed, layers: Layers, rng: np.random.Generator) -> Counted:
    reference = Reference.of(base.measured(), layers, range(len(layers.names)))
    assert reference is not None, "the baseline has too few images"
    watch, images, alarms, alarmed = Watch(reference, layers), pool.images(layers), 0, False
    order: NDArray[np.int64] = rng.integers(0, len(pool), PART)
    for start in range(0, PART, STEP):
        watch.add_all(images.at(order[start : start + STEP]))
        alarms += watch.alarm is not None and not alarmed
        alarmed = watch.alarm is not None
    return Counted(PART, alarms)


def count(kind: Callable[..., Counted], pool: Routed, layers: Layers, baseline: int, images: int) -> Counted:
    """Return the false alarms of one kind in at least `images` images, computed on all cores."""
    parts = range(-(-images // PART))
    with ProcessPoolExecutor() as workers:
        found = list(workers.map(partial(kind, pool, layers, baseline), parts))
    return Counted(sum(each.images for each in found), sum(each.alarms for each in found))
