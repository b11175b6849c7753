"""Remove experts from a detector."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from training.models.detector import Detector
from training.models.mixture.cut import cut_experts


def drop_experts(model: Detector, kept: Mapping[str, Sequence[int]], top_k: int | None = None) -> Detector:
    """Return a detector that has only the kept experts of each mixture layer, and a fitting configuration.

    If all experts that an image chose are kept, its answer is the same up to rounding: gates are renormalised
    over the experts that run, with or without the rest. Two settings use the probabilities themselves, which
    grow by those of the dropped experts. These are a weight threshold, which an expert may now pass that was
    below it, and gate_epsilon (1e-6 of YOLO-Master v0.1). Images that had chosen a dropped expert get the
    next best kept expert.

    Args:
        kept: ascending expert ids, by layer; every mixture layer must be there.
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
