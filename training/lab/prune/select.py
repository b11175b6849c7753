"""Select the experts to keep by a rule that the user states, and remove all other experts of a detector."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from training.config import ModelConfig
from training.errors import ConfigError
from training.evaluate.expert_use import LayerUse
from training.models.detector import Detector
from training.models.mixture.cut import cut_experts
from training.models.mixture.dynamic import mixes_kernels


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for the experts of a layer to keep: the `keep` most used, or all that run for enough images."""

    keep: int | None = None  # number of experts to keep, the most used of each layer
    min_share: float | None = None  # keep experts that at least this share of images chose, 0..1

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.min_share is None):
            raise ConfigError("give either --keep or --min-share")
        if self.keep is not None and self.keep < 1:
            raise ConfigError(f"keep={self.keep}: a layer must keep at least 1 expert")
        if self.min_share is not None and not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share={self.min_share} is not a share of images, 0 to 1")

    def __str__(self) -> str:
        if self.keep is not None:
            return f"keep the {self.keep} most used experts of each layer"
        return f"keep experts that at least {self.min_share:.1%} of images chose"


def pruned_top_k(config: ModelConfig, rule: Rule, asked: int | None) -> int:
    """Return how many experts of a layer the pruned model runs for an image.

    The number is `asked` or, if `asked` is None, the top_k of the model before pruning. The number must be at
    least 1, because the model runs this number of experts while the use of experts is measured.

    Raises:
        ConfigError: the model has no experts. Or the number is below 1 or larger than a layer's number of
            experts. Or the rule keeps fewer experts than run for each image.
    """
    if not config.mixtures:
        raise ConfigError(f"{config.variant} is dense: it has no experts to drop")
    if mixes_kernels(config):
        raise ConfigError(f"{config.variant} has dynamic experts: every image uses all, so none can go")
    top_k = config.top_k if asked is None else asked
    if top_k < 1:
        raise ConfigError("with top_k=0 no expert runs, so use cannot be measured: give --top-k")
    fewest = min(mixture.num_experts for mixture in config.mixtures.values())
    if top_k > fewest:
        raise ConfigError(f"top_k={top_k}: {config.variant} has a layer of {fewest} experts; lower --top-k")
    if rule.keep is not None and rule.keep < top_k:
        raise ConfigError(
            f"keep={rule.keep}: {config.variant} runs {top_k} experts for each image. Keep at least as many, "
            f"or let fewer run: --top-k {rule.keep}"
        )
    return top_k


def select_experts(uses: Sequence[LayerUse], rule: Rule, top_k: int) -> Mapping[str, tuple[int, ...]]:
    """Return, for each layer, the experts to keep, in ascending order; there are at least top_k in a layer.

    The most used experts are kept, which the router chose for the largest share of images. If two experts
    have equal shares, the one with the larger mean weight counts as more used. If the mean weights are equal
    too, it is the one with the lower index.
    """
    kept = {}
    for use in uses:
        ranks = zip(use.expert_share, use.mean_weight, range(0, -len(use.expert_share), -1), strict=True)
        by_use = [-rank[2] for rank in sorted(ranks, reverse=True)]
        count = rule.keep
        if rule.min_share is not None:
            count = max(sum(share >= rule.min_share for share in use.expert_share), top_k)
        kept[use.layer] = tuple(sorted(by_use[:count]))
    return kept


def drop_experts(model: Detector, kept: Mapping[str, Sequence[int]], top_k: int | None = None) -> Detector:
    """Return a detector of the same kind that has only the experts in `kept`.

    Gates are normalised over the experts that run. So if all experts chosen for an image are kept, the
    image's detections stay the same up to rounding. If a chosen expert was removed, the kept expert with the
    next highest probability takes its place. The probabilities of a layer's experts always sum to 1, so
    removing experts raises the probabilities of the others. Therefore more experts can exceed a weight
    threshold and run, and gate_epsilon (1e-6 in YOLO-Master v0.1) has less effect.

    Args:
        kept: for every mixture layer, the ids of the experts to keep, in ascending order.
        top_k: number of experts that run for an image in the new detector; None: as many as in `model`.

    Raises:
        ConfigError: a layer keeps fewer experts than run for an image.
        KeyError: a mixture layer of the model is not in `kept`.
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
    pruned = type(model)(replace(model.config, mixtures=mixtures))
    pruned.load_state_dict(cut.state_dict())  # fails if the weights do not fit the new configuration
    return pruned.eval()
