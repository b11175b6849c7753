"""Choose the defaults of a graph's controls: the fewest experts that keep the task's metric.

A setting can be chosen if its metric on training images is at most MAY_FALL (0.001) below the metric of the
trained setting. Of such settings, the rule takes the one with the fewest GFLOPs on average over these images,
if it is also faster than the trained setting by at least LEAST_GAIN (3 %). GFLOPs decide because they are the
same on every machine and in every run. The time is only a second condition, which is needed because some
graphs hold a faster variant for a top_k without a threshold.

Moreover, with the chosen setting the graph must choose the checkpoint's experts as often as the tolerance of
its precision demands. Rounding moves probabilities across a threshold, and an artifact whose experts differ
from the checkpoint's too often would not be released.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.columns import in_columns
from training.export.proof.selection import LEAST_GAIN
from training.models.mixture.routing import RoutingControls
from training.models.network import Network

THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
MAY_FALL = 0.001  # of the metric, 0..1
LEAST_METRIC = 0.1  # below it, MAY_FALL is more than 1 % of the metric


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of the controls, and what was measured with it."""

    top_k: int
    weight_threshold: float
    metric: float  # the task's metric, 0..1
    expert_share: float  # mean share of the experts of all layers that ran for an image
    gflops: float  # mean over the images
    ms: float  # for one image: median over rounds
    same_experts: float | None = (
        None  # share of (image, layer) with the checkpoint's experts; None: not compared
    )

    @property
    def controls(self) -> RoutingControls:
        """Return the setting as routing controls."""
        return RoutingControls(self.top_k, self.weight_threshold)


@dataclass(frozen=True)
class Choice:
    """The chosen defaults of the controls, the reason, and the measured settings, if any."""

    controls: RoutingControls
    reason: str
    data: str = ""  # name of the images that were measured
    images: int = 0
    metric: str = ""  # name of the metric
    settings: tuple[Setting, ...] = ()

    @property
    def table(self) -> str:
        """Return the settings as a table; a star marks the chosen one."""
        heading = ("", "top_k", "threshold", self.metric, "experts run", "GFLOPs", "ms", "same experts")
        rows = [
            (
                "*" if each.controls == self.controls else "",
                each.top_k,
                f"{each.weight_threshold:g}",
                f"{each.metric:.4f}",
                f"{each.expert_share:.0%}",
                f"{each.gflops:.2f}",
                f"{each.ms:.1f}",
                "-" if each.same_experts is None else f"{each.same_experts:.1%}",
            )
            for each in self.settings
        ]
        return "\n".join(in_columns([heading, *rows], "lrrrrrrr"))


def with_defaults(model: Network, controls: RoutingControls) -> Network:
    """Return a model with new defaults of its controls; the two models share their weights."""
    changed = copy.copy(model)
    top_k, threshold = int(controls.top_k), float(controls.weight_threshold)
    mixtures = {
        place: replace(mixture, top_k=top_k, weight_threshold=threshold)
        for place, mixture in model.config.mixtures.items()
    }
    changed.config = replace(model.config, mixtures=mixtures)
    return changed


def candidates(model: Network) -> list[RoutingControls]:
    """Return the settings to measure: every threshold, both with the trained top_k and with all experts.

    The trained setting comes first. A top_k of 0 or 1 is not combined with thresholds, which would have no
    effect.
    """
    trained = model.default_controls()
    every = min(mixture.num_experts for mixture in model.config.mixtures.values())
    found = [trained]
    for top_k in (trained.top_k, every):
        found += [RoutingControls(top_k, threshold) for threshold in THRESHOLDS if top_k > 1]
    return list(dict.fromkeys(found))


def choose(settings: Sequence[Setting], least_same: float = 0.0) -> tuple[Setting, str]:
    """Return the setting that the rule of this module chooses, and the reason in words.

    If several settings have equal GFLOPs, the one with the highest metric is chosen. If their metrics are
    equal too, the first one is chosen.

    Args:
        settings: the settings to choose from; the trained setting is the first.
        least_same: smallest allowed same_experts. A setting that was not compared is allowed too.
    """
    trained, *others = settings
    if not trained.metric >= LEAST_METRIC:  # written so that NaN counts too
        too_low = f"a metric of {trained.metric:.4f}, below {LEAST_METRIC:g}, is too low to choose by"
        return trained, f"as trained: {too_low}"
    lowest = trained.metric - MAY_FALL - 1e-9  # so that a fall of exactly MAY_FALL, rounded, still counts
    able = [each for each in others if each.metric >= lowest and each.gflops < trained.gflops]
    if not able:
        return trained, f"as trained: no setting with fewer GFLOPs keeps the metric within {MAY_FALL:g}"
    like = [each for each in able if each.same_experts is None or each.same_experts >= least_same]
    left_out = len(able) - len(like)
    unlike = f"; left out for other experts by rounding: {left_out} of {len(able)}" if left_out else ""
    if not like:
        return trained, f"as trained: no setting with fewer GFLOPs keeps metric and experts{unlike}"
    best = min(like, key=lambda each: (each.gflops, -each.metric))
    ratio = best.ms / trained.ms
    if ratio > 1 - LEAST_GAIN:
        named = f"top_k {best.top_k}, threshold {best.weight_threshold:g}"
        slow = f"{named} has fewer GFLOPs, but takes {ratio:.2f} of the time"
        return trained, f"as trained: {slow}{unlike}"
    return best, (
        f"fewest GFLOPs of the settings whose metric is at most {MAY_FALL:g} below that as trained, "
        f"in {ratio:.2f} of the time{unlike}"
    )
