"""Format the routing figures of a validation during training as numbers and as text, for every task."""

from collections.abc import Mapping
from statistics import fmean

from training.data.sample import Dataset
from training.evaluate.baseline import nmi_by_layer, nmi_of_paths
from training.evaluate.expert_use import STATIC_BELOW_BITS
from training.evaluate.routed import Result
from training.evaluate.routing_report import GOAL_BITS

GROUPINGS = ("origin", "density")
SAID_GROUPINGS = (*GROUPINGS, "class")


def routing_scores(result: Result, dataset: Dataset) -> dict[str, float]:
    """Return the numbers that describe the routing of each layer, as one flat dict.

    The keys are "bits LAYER" (information about the image in the router's output), "sets LAYER" (number of
    different sets of experts) and "dead LAYER" (number of experts that the router chose for no image). For
    each grouping of the images, "nmi GROUPING LAYER" is the normalised mutual information between the groups
    and the chosen experts. For a network with paths, "path bits", "path dead" and "path nmi GROUPING" are the
    same figures of the choice of a path.
    """
    scores: dict[str, float] = {}
    if result.paths is not None:
        scores |= {"path bits": result.paths.information_bits, "path dead": len(result.paths.dead_experts)}
        shared = nmi_of_paths(result.routed, dataset)
        scores |= {f"path nmi {grouping}": value for grouping, value in shared.items()}
    nmi = nmi_by_layer(result.routed, dataset)
    for use in result.experts:
        scores[f"bits {use.layer}"] = use.information_bits
        scores[f"sets {use.layer}"] = use.distinct_sets
        scores[f"dead {use.layer}"] = len(use.dead_experts)
        scores |= {f"nmi {grouping} {use.layer}": shared for grouping, shared in nmi[use.layer].items()}
    return scores


def routing_sentence(scores: Mapping[str, float]) -> str:
    """Return a summary of the routing of paths and layers, as the end of a sentence; "" without mixtures."""
    bits = _of_layers(scores, "bits")
    if not bits:
        return ""
    if max(bits) < STATIC_BELOW_BITS:
        known = f"static, below {STATIC_BELOW_BITS:g} bit in every layer"
    else:
        informed = sum(each >= GOAL_BITS for each in bits)
        layers = f"{informed} of {len(bits)} layers at {GOAL_BITS:g} bit or more"
        known = f"{fmean(bits):.2f} bit on average, {layers}"
    dead = int(sum(_of_layers(scores, "dead")))
    parts = [known, _dead(dead, "expert")]
    for name in SAID_GROUPINGS:
        if shared := _of_layers(scores, f"nmi {name}"):
            parts.append(f"NMI with {name} {fmean(shared):.2f}")
    return f"{_path_sentence(scores)}; routing: {', '.join(parts)}"


def _path_sentence(scores: Mapping[str, float]) -> str:
    if "path bits" not in scores:
        return ""
    parts = [f"{scores['path bits']:.2f} bit", _dead(int(scores["path dead"]), "path")]
    for name in SAID_GROUPINGS:
        if f"path nmi {name}" in scores:
            parts.append(f"NMI with {name} {scores[f'path nmi {name}']:.2f}")
    return f"; paths: {', '.join(parts)}"


def _dead(count: int, what: str) -> str:
    return f"{count or 'no'} dead {what}{'s' if count > 1 else ''}"


def _of_layers(scores: Mapping[str, float], figure: str) -> list[float]:
    return [value for name, value in scores.items() if name.startswith(f"{figure} ")]
