"""How far an exported graph is from its checkpoint, and whether that is near enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import ExportError
from training.export.engine import Engine
from training.export.graph import ExportGraph, GraphSpec
from training.export.margin import router_margin
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls

MIN_SCORE = 0.01  # candidates below this are noise whose order means nothing
UNMATCHED = float("inf")

# Tried in turn, for one that parts the experts of an image and is near none of their probabilities.
PARTING_THRESHOLDS = (0.2, 0.15, 0.25, 0.1, 0.3)
CLEAR_MARGIN = 1e-3
TIE = 1e-5  # as far as rounding moves a probability


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed differences; boxes may differ by boxes_px + boxes_relative × |coordinate|."""

    boxes_px: float = 1e-3
    boxes_relative: float = 1e-5
    scores: float = 1e-4
    gates: float = 1e-4
    input_levels: int = 1


TOLERANCE = Tolerance()  # of float32; the manifest carries it to the service


@dataclass(frozen=True)
class Parity:
    """Largest differences over all images, every top_k and some thresholds."""

    images: int
    distinct_expert_sets: int  # of (layer, experts), without a threshold: 1 per top_k if routing is static
    boxes_px: float
    boxes_excess_px: float  # after the relative allowance
    scores: float
    gates: float

    def check(self) -> None:
        """Raises ExportError naming the first output that is too far from the checkpoint."""
        for name, error, limit in (
            ("gates", self.gates, TOLERANCE.gates),
            ("scores", self.scores, TOLERANCE.scores),
            ("boxes", self.boxes_excess_px, TOLERANCE.boxes_px),
        ):
            if not error <= limit:  # written so that NaN fails too
                raise ExportError(
                    f"{name} of the exported graph differ from the checkpoint by {error:g}; "
                    f"the limit is {limit:g}. Nothing was written."
                )


def reference_outputs(
    model: Detector, spec: GraphSpec, canvas: NDArray[np.uint8], controls: RoutingControls
) -> dict[str, NDArray[Any]]:
    """What the checkpoint itself answers in eager float32, by the graph's output names."""
    dense = GraphSpec("dense", spec.selection, spec.candidates)
    inputs = (
        torch.from_numpy(canvas)[None],
        torch.tensor([[controls.top_k]]),
        torch.tensor([[controls.weight_threshold]], dtype=torch.float32),
    )
    with torch.inference_mode():
        outputs = ExportGraph(model, dense)(*inputs)
    names = spec.output_names(bool(model.mixture_layers()))
    return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}


def measure_parity(
    model: Detector,
    spec: GraphSpec,
    engine: Engine,
    canvases: Sequence[NDArray[np.uint8]],
    top_ks: Sequence[int],
) -> Parity:
    """Compare on every image at every top_k and some thresholds: every expert is both run and skipped.

    A graph that takes batches is compared on one as well, of different images with different controls: each
    row must be what its image gives alone.
    """
    errors = {"boxes_px": 0.0, "boxes_excess_px": 0.0, "scores": 0.0, "gates": 0.0}
    sets: set[bytes] = set()

    experts = [len(layer.experts) for layer in model.mixture_layers().values()]
    decided: set[int] = set()  # every top_k at which some picture is not left to rounding

    def compare(
        canvas: NDArray[np.uint8], controls: RoutingControls, got: Mapping[str, NDArray[Any]]
    ) -> None:
        wanted = reference_outputs(model, spec, canvas, controls)
        margin = router_margin(wanted, experts, controls) if experts else None
        if margin is not None and margin < TIE:
            return
        decided.add(int(controls.top_k))
        found = _differences(wanted, got)
        errors.update({name: max_or_nan(errors[name], found[name]) for name in errors})
        if "gates" in got and controls.weight_threshold == 0:
            sets.add((got["gates"] > 0).tobytes())

    compared = [compared_controls(model, canvas, top_ks) for canvas in canvases]
    for canvas, each in zip(canvases, compared, strict=True):
        for controls in each:
            compare(canvas, controls, engine.run(canvas, controls))
    if spec.max_batch > 1:
        together = canvases[: spec.max_batch]
        # From the last on, so that thresholds are among them whatever the number of images.
        chosen = [compared[row][-1 - row % len(compared[row])] for row in range(len(together))]
        outputs = engine.run_batch(together, chosen)
        for row, (canvas, controls) in enumerate(zip(together, chosen, strict=True)):
            compare(canvas, controls, {name: values[row : row + 1] for name, values in outputs.items()})
    undecided = sorted(set(top_ks) - decided)
    if undecided:
        raise ExportError(
            f"at top_k={undecided[0]} the routers are within {TIE:g} of a tie on every picture, so that "
            "rounding would choose the experts; train it longer. Nothing was written."
        )
    return Parity(len(canvases), len(sets), **errors)


def compared_controls(
    model: Detector, canvas: NDArray[np.uint8], top_ks: Sequence[int]
) -> list[RoutingControls]:
    """Every top_k without a threshold; at the highest also the model's own, if it has one, and another."""
    found = [RoutingControls(top_k) for top_k in top_ks]
    layers = model.mixture_layers()
    if not layers:
        return found
    if model.config.weight_threshold > 0:
        found.append(RoutingControls(top_ks[-1], model.config.weight_threshold))
    experts = [len(layer.experts) for layer in layers.values()]
    spec = GraphSpec("dense", "service")
    for threshold in PARTING_THRESHOLDS:
        parting = RoutingControls(top_ks[-1], threshold)
        margin = router_margin(reference_outputs(model, spec, canvas, parting), experts, parting)
        if margin is None or margin >= CLEAR_MARGIN:
            break
    return [*found, parting]


def max_or_nan(a: float, b: float) -> float:
    """The larger, or NaN if either is: Python's max would lose it."""
    return float(np.maximum(a, b))


def _differences(want: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    gates = 0.0
    if "gates" in want:
        gates = max_or_nan(
            _largest(want["gates"], got["gates"]), _largest(want["router_probs"], got["router_probs"])
        )
    if "class_scores" in want:
        pairs = (want["boxes"], got["boxes"])
        scores = _largest(want["class_scores"], got["class_scores"])
    else:
        pairs, scores = _match_candidates(want, got)
    boxes = np.abs(pairs[0] - pairs[1])
    excess = boxes - TOLERANCE.boxes_relative * np.abs(pairs[0])
    return {
        "boxes_px": float(boxes.max(initial=0.0)),
        "boxes_excess_px": float(excess.max(initial=0.0)) if scores != UNMATCHED else UNMATCHED,
        "scores": scores,
        "gates": gates,
    }


def _largest(want: NDArray[Any], got: NDArray[Any]) -> float:
    if want.shape != got.shape:
        return UNMATCHED
    return float(np.abs(want.astype(np.float64) - got).max(initial=0.0))


def _match_candidates(
    want: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]]
) -> tuple[tuple[NDArray[Any], NDArray[Any]], float]:
    """Pair candidates by class and place: equal scores may come in another order."""
    wanted, found = ({name: out[name][0] for name in ("boxes", "scores", "class_ids")} for out in (want, got))
    if not np.isfinite(found["scores"]).all() or not np.isfinite(found["boxes"]).all():
        return (wanted["boxes"], wanted["boxes"]), float("nan")
    worst, pairs = 0.0, []
    for mine, other in ((wanted, found), (found, wanted)):
        # One that is likely here must be there, even if there it falls a little below the threshold, unless
        # it is so near the last of a full list that rounding may have put another in its place.
        last = float(other["scores"].min(initial=1.0)) + TOLERANCE.scores
        for index in np.flatnonzero((mine["scores"] >= MIN_SCORE) & (mine["scores"] > last)):
            same = np.flatnonzero(other["class_ids"] == mine["class_ids"][index])
            if not len(same):
                return (wanted["boxes"], wanted["boxes"]), UNMATCHED
            distance = np.abs(other["boxes"][same] - mine["boxes"][index]).max(axis=1)
            nearest = same[distance.argmin()]
            worst = max(worst, float(abs(other["scores"][nearest] - mine["scores"][index])))
            pairs.append((mine["boxes"][index], other["boxes"][nearest]))
    if not pairs:
        return (wanted["boxes"][:0], wanted["boxes"][:0]), worst
    left, right = zip(*pairs, strict=True)
    return (np.stack(left), np.stack(right)), worst
