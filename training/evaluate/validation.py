"""What a validation while training records as figures and says in a sentence, for each task."""

from collections.abc import Mapping, Sequence

from training.data.sample import Dataset
from training.evaluate.baseline import nmi_by_layer
from training.evaluate.classification import ClassEvaluation
from training.evaluate.evaluator import Evaluation
from training.evaluate.expert_use import STATIC_BELOW_BITS, LayerUse
from training.evaluate.routed import RoutedImages
from training.evaluate.routing_report import GOAL_BITS

GROUPINGS = ("origin", "density")
SAID_GROUPINGS = (*GROUPINGS, "class")


def validation_scores(result: Evaluation, dataset: Dataset) -> dict[str, float]:
    """Return flat figures for one line of metrics.jsonl: mAP, and those of routing_scores."""
    quality = {"mAP50": result.mean_ap.map50, "mAP50-95": result.mean_ap.map50_95}
    return quality | routing_scores(result.experts, result.routed, dataset)


def validation_sentence(scores: Mapping[str, float]) -> str:
    """Return the same for people."""
    return f"mAP50 {scores['mAP50']:.3f}, mAP50-95 {scores['mAP50-95']:.3f}{routing_sentence(scores)}"


def classification_scores(result: ClassEvaluation, dataset: Dataset) -> dict[str, float]:
    """Return flat figures for one line of metrics.jsonl: accuracies, and those of routing_scores."""
    accuracy = result.accuracy
    scores = {"top1": accuracy.top1, "top5": accuracy.top5}
    scores |= {f"top1 {name}": share for name, share in accuracy.by_class.items() if share is not None}
    return scores | routing_scores(result.experts, result.routed, dataset)


def classification_sentence(scores: Mapping[str, float]) -> str:
    """Return the same for people."""
    return f"top-1 {scores['top1']:.3f}, top-5 {scores['top5']:.3f}{routing_sentence(scores)}"


def routing_scores(uses: Sequence[LayerUse], routed: RoutedImages, dataset: Dataset) -> dict[str, float]:
    """Return what the experts of each layer do, as flat figures.

    "bits LAYER", "sets LAYER" (different sets of experts), "dead LAYER" (experts that no image chose) and,
    where the data set has such groups, "nmi origin LAYER", "nmi density LAYER" and "nmi class LAYER".
    """
    scores: dict[str, float] = {}
    nmi = nmi_by_layer(routed, dataset)
    for use in uses:
        scores[f"bits {use.layer}"] = use.information_bits
        scores[f"sets {use.layer}"] = use.distinct_sets
        scores[f"dead {use.layer}"] = len(use.dead_experts)
        scores |= {f"nmi {grouping} {use.layer}": shared for grouping, shared in nmi[use.layer].items()}
    return scores


def routing_sentence(scores: Mapping[str, float]) -> str:
    """Return routing as the end of a sentence, over all layers; empty without mixtures."""
    bits = _of_layers(scores, "bits")
    if not bits:
        return ""
    if max(bits) < STATIC_BELOW_BITS:
        known = f"static, below {STATIC_BELOW_BITS:g} bit in every layer"
    else:
        informed = sum(each >= GOAL_BITS for each in bits)
        known = (
            f"{_mean(bits):.2f} bit on average, {informed} of {len(bits)} layers at {GOAL_BITS:g} bit or more"
        )
    dead = int(sum(_of_layers(scores, "dead")))
    parts = [known, f"{dead or 'no'} dead expert{'s' if dead > 1 else ''}"]
    for name in SAID_GROUPINGS:
        shared = _of_layers(scores, f"nmi {name}")
        if shared:
            parts.append(f"NMI with {name} {_mean(shared):.2f}")
    return f"; routing: {', '.join(parts)}"


def _of_layers(scores: Mapping[str, float], figure: str) -> list[float]:
    return [value for name, value in scores.items() if name.startswith(f"{figure} ")]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
