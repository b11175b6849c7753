"""Test whether the experts that run depend on a known property of the image, or only appear to by chance."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluate.expert_use import entropy_bits

# N images · S sets of experts · G groups · P permutations

PERMUTATIONS = 2000
AT_ONCE = 4_000_000  # numbers in memory while permutations are counted
ROUNDING = 1e-12  # tolerance: the same table may be summed in another order


class Dependence(NamedTuple):
    """The statistical dependence between the set of experts that ran for an image and the image's group."""

    nmi: float  # normalised mutual information; 0: independent; 1: each determines the other
    p_value: float  # probability of at least this NMI by chance; never below 1 / (1 + permutations)
    chance: float  # mean NMI by chance: above 0 if there is little data or many sets


def normalised_mutual_information(sets: NDArray[np.int64], groups: NDArray[np.int64]) -> float:
    """Return I(set; group) ÷ the mean of H(set) and H(group); 0 if there is only one set or one group.

    `sets` (N,) has the id of each image's set of experts, and `groups` (N,) the id of its group. Both count
    from 0.
    """
    return float(_nmi(_tables(sets, groups[None]))[0])


def dependence(
    sets: NDArray[np.int64], groups: NDArray[np.int64], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Dependence:
    """Return the normalised mutual information (NMI) of sets and groups, and its probability by chance.

    The probability p is estimated from random permutations of the groups:
    p = (1 + number of permutations with at least the observed NMI) / (1 + permutations).

    `sets` and `groups` are as in normalised_mutual_information.
    """
    observed = normalised_mutual_information(sets, groups)
    rng = np.random.default_rng(seed)
    cells = int(sets.max() + 1) * int(groups.max() + 1)
    step = max(1, AT_ONCE // max(len(sets), cells))
    by_chance = np.empty(permutations)
    for start in range(0, permutations, step):
        part = by_chance[start : start + step]
        dealt = rng.permuted(np.broadcast_to(groups, (len(part), len(groups))), axis=1)  # (P, N)
        part[:] = _nmi(_tables(sets, dealt))
    reached = int((by_chance >= observed - ROUNDING).sum())
    return Dependence(observed, (1 + reached) / (1 + permutations), float(by_chance.mean()))


def _tables(sets: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the numbers of images by set and group, (P, S, G), from set ids (N,) and group ids (P, N)."""
    shape = len(groups), int(sets.max()) + 1, int(groups.max()) + 1
    cell = np.ravel_multi_index((np.arange(len(groups))[:, None], sets, groups), shape)
    return np.bincount(cell.ravel(), minlength=math.prod(shape)).reshape(shape).astype(np.float64)


def _nmi(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normalised mutual information, (P,), of tables of counts (P, S, G)."""
    joint = tables / tables.sum(axis=(1, 2), keepdims=True)
    of_sets, of_groups = entropy_bits(joint.sum(axis=2)), entropy_bits(joint.sum(axis=1))  # (P,)
    shared = of_sets + of_groups - entropy_bits(joint.reshape(len(joint), -1))
    mean = (of_sets + of_groups) / 2
    defined = (of_sets > 0) & (of_groups > 0)
    nmi = np.divide(shared, mean, out=np.zeros_like(shared), where=defined)
    return nmi.clip(0.0, 1.0)
