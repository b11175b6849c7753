"""What the routers do over many images: how much they know, and whom they choose."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STATIC_BELOW_BITS = 0.05  # an artefact below this in every layer is released as `static`


@dataclass(frozen=True)
class LayerUse:
    """One mixture layer over a set of images."""

    layer: str
    information_bits: float  # H(mean p) - mean H(p): 0 static, log2 E decided and balanced
    expert_share: tuple[float, ...]  # share of images that chose each expert
    mean_weight: tuple[float, ...]  # of each expert; tells them apart where all run, as in a mixture head
    distinct_sets: int  # different sets of experts that ran
    commonest_set_share: float


def entropy_bits(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Shannon entropy over the last axis, in bits; 0 log 0 is 0."""
    p = np.asarray(probabilities, dtype=np.float64)
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logs).sum(axis=-1))


def layer_use(layer: str, gates: NDArray[np.float32], probs: NDArray[np.float32]) -> LayerUse:
    """Summarise gates and router probabilities, (images, E) each."""
    chosen = gates > 0
    sets = Counter(tuple(row) for row in chosen.tolist())
    return LayerUse(
        layer=layer,
        information_bits=max(0.0, float(entropy_bits(probs.mean(axis=0)) - entropy_bits(probs).mean())),
        expert_share=tuple(float(share) for share in chosen.mean(axis=0)),
        mean_weight=tuple(float(weight) for weight in gates.mean(axis=0)),
        distinct_sets=len(sets),
        commonest_set_share=sets.most_common(1)[0][1] / len(chosen),
    )


def is_static(uses: list[LayerUse]) -> bool:
    """True if there are mixture layers and none of them routes by what is in the image."""
    return bool(uses) and all(use.information_bits < STATIC_BELOW_BITS for use in uses)
