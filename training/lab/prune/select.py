"""Select the experts to keep, by a rule that the user states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.config import ModelConfig
from training.errors import ConfigError
from training.evaluate.expert_use import LayerUse


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Keep either a fixed number of experts in every layer, or the experts that enough images chose."""

    keep: int | None = None  # the most used of each layer; a layer with no more keeps them all
    min_share: float | None = None  # of images, 0..1; an expert that reaches it stays

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.min_share is None):
            raise ConfigError(
                "say either --keep, how many stay, or --min-share, how much use an expert needs"
            )
        if self.keep is not None and self.keep < 1:
            raise ConfigError(f"keep={self.keep}: at least 1 expert of a layer has to stay")
        if self.min_share is not None and not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share={self.min_share} is not a share of images, 0 to 1")

    def __str__(self) -> str:
        if self.keep is not None:
            return f"the {self.keep} most used of each layer stay"
        return f"those that at least {self.min_share:.1%} of images chose stay"


def pruned_top_k(config: ModelConfig, rule: Rule, asked: int | None) -> int:
    """Return how many experts the pruned model runs for an image; use is measured with this number too.

    Raises:
        ConfigError: the model has no experts to drop, or the rule keeps fewer than run for each image.
    """
    if not config.mixtures:
        raise ConfigError(f"{config.variant} is dense: it has no experts that could be dropped")
    top_k = config.top_k if asked is None else asked
    if top_k < 1:
        raise ConfigError(
            "with top_k=0 no expert runs, so that none shows its use: say with --top-k how many shall run"
        )
    fewest = min(mixture.num_experts for mixture in config.mixtures.values())
    if top_k > fewest:
        raise ConfigError(f"top_k={top_k}: {config.variant} has a layer of {fewest} experts; say fewer")
    if rule.keep is not None and rule.keep < top_k:
        raise ConfigError(
            f"keep={rule.keep}: {config.variant} runs {top_k} experts for each image, so that {top_k} have "
            f"to stay. Keep as many, or have fewer run from now on: --top-k {rule.keep}"
        )
    return top_k


def select_experts(uses: Sequence[LayerUse], rule: Rule, top_k: int) -> Mapping[str, tuple[int, ...]]:
    """Return the experts to keep, in ascending order, by layer; never fewer than top_k of a layer.

    Of two experts with the same share of images, the one with the larger mean weight is kept, then the lower
    index.
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
