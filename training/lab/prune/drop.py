"""The detector without the experts that were dropped."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from training.models.detector import Detector
from training.models.mixture.cut import cut_experts


def drop_experts(model: Detector, kept: Mapping[str, Sequence[int]], top_k: int | None = None) -> Detector:
    """Return a detector of its own configuration, with these experts of each mixture layer and no others.

    For an image whose chosen experts all stay in every layer, the answer is the same up to rounding: gates
    are renormalised over those that run, with or without the rest. Two settings see the probabilities
    themselves, which grow by what the dropped experts had: a weight threshold, which an expert may now pass
    that was below it, and gate_epsilon (1e-6 of YOLO-Master v0.1). Images that had chosen a dropped expert
    get the next best of those that stay.

    Args:
        kept: ascending, by layer; every layer is named.
        top_k: experts that run for an image from now on; None: as many as before.

    Raises:
        ConfigError: a layer keeps fewer experts than run for an image.
        KeyError: a mixture layer of the model is not in kept.
    """
    mixtures = {
        place: replace(
            mixture,
            num_experts=len(kept[place]),
            kernel_sizes=tuple(mixture.kernel_sizes[expert] for expert in kept[place]),
            top_k=mixture.top_k if top_k is None else top_k,
        )
        for place, mixture in model.config.mixtures.items()
    }
    cut = copy.deepcopy(model)
    for place, layer in cut.mixture_layers().items():
        cut_experts(layer, kept[place])
    pruned = Detector(replace(model.config, mixtures=mixtures))
    pruned.load_state_dict(cut.state_dict())  # strict: what is left must be what the configuration describes
    return pruned.eval()
