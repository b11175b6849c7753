"""What a validation while training records as figures, and says in a sentence."""

from collections.abc import Mapping, Sequence

from training.data.sample import Dataset
from training.evaluate.baseline import nmi_by_layer
from training.evaluate.evaluator import Evaluation
from training.evaluate.expert_use import STATIC_BELOW_BITS
from training.evaluate.routing_report import GOAL_BITS

GROUPINGS = ("origin", "density")


def validation_scores(result: Evaluation, dataset: Dataset) -> dict[str, float]:
    """Flat figures for one line of metrics.jsonl.

    mAP, and of each layer "bits LAYER", "sets LAYER" (different sets of experts), "dead LAYER" (experts that
    no image chose) and, where the data set has such groups, "nmi origin LAYER" and "nmi density LAYER".
    """
    scores: dict[str, float] = {"mAP50": result.mean_ap.map50, "mAP50-95": result.mean_ap.map50_95}
    nmi = nmi_by_layer(result.routed, dataset)
    for use in result.experts:
        scores[f"bits {use.layer}"] = use.information_bits
        scores[f"sets {use.layer}"] = use.distinct_sets
        scores[f"dead {use.layer}"] = len(use.dead_experts)
        scores |= {f"nmi {grouping} {use.layer}": shared for grouping, shared in nmi[use.layer].items()}
    return scores


def validation_sentence(scores: Mapping[str, float]) -> str:
    """The same for people, from the figures; routing as one sentence over all layers."""
    quality = f"mAP50 {scores['mAP50']:.3f}, mAP50-95 {scores['mAP50-95']:.3f}"
    bits = _of_layers(scores, "bits")
    if not bits:
        return quality
    if max(bits) < STATIC_BELOW_BITS:
        known = f"static, below {STATIC_BELOW_BITS:g} bit in every layer"
    else:
        informed = sum(each >= GOAL_BITS for each in bits)
        known = (
            f"{_mean(bits):.2f} bit on average, {informed} of {len(bits)} layers at {GOAL_BITS:g} bit or more"
        )
    dead = int(sum(_of_layers(scores, "dead")))
    parts = [known, f"{dead or 'no'} dead expert{'s' if dead > 1 else ''}"]
    for name in GROUPINGS:
        shared = _of_layers(scores, f"nmi {name}")
        if shared:
            parts.append(f"NMI with {name} {_mean(shared):.2f}")
    return f"{quality}; routing: {', '.join(parts)}"


def _of_layers(scores: Mapping[str, float], figure: str) -> list[float]:
    return [value for name, value in scores.items() if name.startswith(f"{figure} ")]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
