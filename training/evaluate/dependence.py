"""Test whether the experts that run depend on a known property of the image, or only seem to."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluate.expert_use import entropy_bits

# N images · S sets of experts · G groups · P permutations

PERMUTATIONS = 2000
SEED = 0
AT_ONCE = 4_000_000  # numbers in memory while permutations are counted
ROUNDING = 1e-12  # tolerance: the same table may be summed in another order


class Dependence(NamedTuple):
    """How much an image's chosen set of experts and its group depend on each other."""

    nmi: float  # 0: independent; 1: each determines the other
    p_value: float  # of at least this NMI by chance; at least 1 / (1 + permutations)
    chance: float  # mean NMI by chance: above 0 if there is little data or many sets


def normalised_mutual_information(sets: NDArray[np.int64], groups: NDArray[np.int64]) -> float:
    """Return I(set; group) divided by the arithmetic mean of both entropies.

    0 if either has only one value: a value that never differs carries no information.

    Args:
        sets: (N,) id of each image's set of experts, counted from 0.
        groups: (N,) id of each image's group, counted from 0.
    """
    return float(_nmi(_tables(sets, groups[None]))[0])


def dependence(
    sets: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
) -> Dependence:
    """Compare the normalised mutual information with that of randomly permuted groups.

    Args:
        sets: (N,) id of each image's set of experts, counted from 0.
        groups: (N,) id of each image's group, counted from 0.
        permutations: p = (1 + permutations that reach the observed value) / (1 + permutations).
        seed: of the permutations; the same seed gives the same p.
    """
    observed = normalised_mutual_information(sets, groups)
    rng = np.random.default_rng(seed)
    cells = int(sets.max() + 1) * int(groups.max() + 1)
    step = max(1, AT_ONCE // max(len(sets), cells))
    found = []
    for start in range(0, permutations, step):
        rows = min(step, permutations - start)
        dealt = rng.permuted(np.broadcast_to(groups, (rows, len(groups))), axis=1)  # (P, N)
        found.append(_nmi(_tables(sets, dealt)))
    by_chance = np.concatenate(found)
    reached = int((by_chance >= observed - ROUNDING).sum())
    return Dependence(observed, (1 + reached) / (1 + permutations), float(by_chance.mean()))


def _tables(sets: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many images each pair of set and group has, (P, S, G), from ids (N,) and (P, N)."""
    num_sets, num_groups = int(sets.max()) + 1, int(groups.max()) + 1
    cells = num_sets * num_groups
    row = np.arange(len(groups))[:, None] * cells
    counts = np.bincount((row + sets * num_groups + groups).ravel(), minlength=len(groups) * cells)
    return counts.reshape(len(groups), num_sets, num_groups).astype(np.float64)


def _nmi(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normalised mutual information, (P,), of tables of counts (P, S, G)."""
    joint = tables / tables.sum(axis=(1, 2), keepdims=True)
    of_sets, of_groups = entropy_bits(joint.sum(axis=2)), entropy_bits(joint.sum(axis=1))  # (P,)
    shared = of_sets + of_groups - entropy_bits(joint.reshape(len(joint), -1))
    mean = (of_sets + of_groups) / 2
    defined = (of_sets > 0) & (of_groups > 0)
    nmi = np.divide(shared, mean, out=np.zeros_like(shared), where=defined)
    return nmi.clip(0.0, 1.0)
