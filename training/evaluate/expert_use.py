"""Summarise routers over many images: how much their output depends on the image, and which experts run."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STATIC_BELOW_BITS = 0.05  # an artifact below this in every layer is released as `static`


@dataclass(frozen=True)
class LayerUse:
    """A summary of a mixture layer's routing over many images: its information and its use of experts."""

    layer: str
    information_bits: float  # H(mean p) - mean H(p): 0 if static, log2 E if certain and balanced
    expert_share: tuple[float, ...]  # share of images that chose each expert
    mean_weight: tuple[float, ...]  # of each expert; weights differ even if all experts run
    distinct_sets: int  # different sets of experts that ran
    commonest_set_share: float  # share of images for which the commonest set of experts ran
    set_entropy_bits: float  # entropy of the sets' shares of images: 0 if every image has the same set

    @property
    def dead_experts(self) -> tuple[int, ...]:
        """Return the experts that ran for no image. With top_k 0, no routed expert runs, so these are all."""
        return tuple(expert for expert, share in enumerate(self.expert_share) if share == 0)


class ChosenSets(NamedTuple):
    """The sets of experts that ran together for an image in one layer, the commonest set first."""

    sets: tuple[tuple[int, ...], ...]  # expert ids of each set, ascending
    ids: NDArray[np.int64]  # (images,)  each image's set, an index into `sets`


def entropy_bits(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Shannon entropy over the last axis, in bits; 0 log 0 is 0."""
    p = np.asarray(probabilities, dtype=np.float64)
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logs).sum(axis=-1))


def chosen_sets(gates: NDArray[np.float32]) -> ChosenSets:
    """Return the sets of experts that ran together, and which of these sets ran for each image.

    `gates` has the shape (images, E); an expert ran for an image if its gate is above 0.
    """
    rows, ids, counts = np.unique(gates > 0, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    sets = tuple(tuple(np.flatnonzero(row).tolist()) for row in rows[order])
    return ChosenSets(sets, np.argsort(order)[ids.reshape(-1)])


def layer_use(layer: str, gates: NDArray[np.float32], probs: NDArray[np.float32]) -> LayerUse:
    """Return a summary of a layer's gates and router probabilities, (images, E) each."""
    chosen = gates > 0
    set_shares = np.bincount(chosen_sets(gates).ids) / len(chosen)
    # In float64, the mean of a thousand equal rows is the row itself, and a static layer has 0 bits.
    mean = probs.mean(axis=0, dtype=np.float64)
    return LayerUse(
        layer=layer,
        information_bits=max(0.0, float(entropy_bits(mean) - entropy_bits(probs).mean())),
        expert_share=tuple(chosen.mean(axis=0).tolist()),
        mean_weight=tuple(gates.mean(axis=0).tolist()),
        distinct_sets=len(set_shares),
        commonest_set_share=float(set_shares[0]),
        set_entropy_bits=max(0.0, float(entropy_bits(set_shares))),
    )


def is_static(uses: list[LayerUse]) -> bool:
    """Return whether every layer's information about the image is below STATIC_BELOW_BITS.

    Without mixture layers, return False.
    """
    return bool(uses) and all(use.information_bits < STATIC_BELOW_BITS for use in uses)
