"""How far an exported graph is from its checkpoint, and whether that is near enough."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.errors import ExportError
from training.export.graph.export_graph import ExportGraph, GraphSpec
from training.export.graph.half import EagerHalf
from training.export.graph.precision import TOLERANCES, Tolerance
from training.export.proof.differences import Outputs, differences, max_or_nan
from training.export.proof.engine import Engine
from training.export.proof.margin import router_margin
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls

# Tried in turn, for one that parts the experts of an image and is near none of their probabilities.
PARTING_THRESHOLDS = (0.2, 0.15, 0.25, 0.1, 0.3)
CLEAR_MARGIN = 1e-3
TIE = 1e-5  # as far as rounding moves a probability


@dataclass(frozen=True)
class MapPair:
    """mAP@[.5:.95] on one data set, 0..1."""

    checkpoint: float
    graph: float


@dataclass(frozen=True)
class Parity:
    """Largest differences over all images, every top_k and some thresholds.

    The outputs of an image count where every layer chose the checkpoint's experts: elsewhere it is another
    sum. How often that is so is `expert_sets`.
    """

    images: int
    distinct_expert_sets: int  # of (layer, experts), without a threshold: 1 per top_k if routing is static
    boxes_px: float
    boxes_excess_px: float  # after the relative allowance
    scores: float
    gates: float
    expert_sets: float | None = None  # share of (image, layer, top_k); None: nothing is chosen
    map50_95: MapPair | None = None  # None: there was no data to measure it on
    skippable_experts: int = 0  # in a branch of the graph that may not run
    compared_boxes: int | None = None  # None: not counted
    tolerance: Tolerance = field(default_factory=lambda: TOLERANCES["f32"])

    def __str__(self) -> str:
        parts = [f"boxes within {self.boxes_px:.1g} px and scores within {self.scores:.1g}"]
        if self.expert_sets is not None and self.expert_sets < 1:
            parts.insert(0, f"the same experts in {self.expert_sets:.1%} of cases")
        if self.map50_95 is not None:
            parts.append(f"mAP@[.5:.95] {self.map50_95.checkpoint:.4f} → {self.map50_95.graph:.4f}")
        return f"equal on {self.images} pictures, " + ", ".join(parts)

    def worse_of(self, other: "Parity") -> "Parity":
        """This one with the larger of both differences, and the smaller share of equal sets."""
        shares = [each.expert_sets for each in (self, other) if each.expert_sets is not None]
        return replace(
            self,
            boxes_px=max_or_nan(self.boxes_px, other.boxes_px),
            boxes_excess_px=max_or_nan(self.boxes_excess_px, other.boxes_excess_px),
            scores=max_or_nan(self.scores, other.scores),
            gates=max_or_nan(self.gates, other.gates),
            expert_sets=min(shares, default=None),
            compared_boxes=min(self.compared_boxes or 0, other.compared_boxes or 0),
        )

    def check(self) -> None:
        """Raises ExportError naming the first thing that is too far from the checkpoint."""
        limits = self.tolerance
        if self.expert_sets is not None and not self.expert_sets >= limits.expert_sets:
            raise ExportError(
                f"the exported graph chooses the checkpoint's experts in {self.expert_sets:.1%} of cases, "
                f"each one layer on one picture; at least {limits.expert_sets:.1%} are needed. "
                "Nothing was written."
            )
        for name, error, limit in (
            ("gates", self.gates, limits.gates),
            ("scores", self.scores, limits.scores),
            ("boxes", self.boxes_excess_px, limits.boxes_px),
        ):
            if not error <= limit:  # written so that NaN fails too
                raise ExportError(
                    f"{name} of the exported graph differ from the checkpoint by {error:g}; "
                    f"the limit is {limit:g}. Nothing was written."
                )
        if self.compared_boxes == 0:
            raise ExportError(
                "nothing in the pictures scores enough for its box to be compared, so that nothing is proved "
                "of the graph: give pictures of what the model knows with --data. Nothing was written."
            )
        if self.map50_95 is not None:
            fall = self.map50_95.checkpoint - self.map50_95.graph
            if not fall <= limits.map50_95:
                raise ExportError(
                    f"mAP@[.5:.95] falls from {self.map50_95.checkpoint:.4f} of the checkpoint to "
                    f"{self.map50_95.graph:.4f} of the exported graph; it may fall by {limits.map50_95:g}. "
                    "Nothing was written."
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
    engine: Engine | EagerHalf,
    canvases: Sequence[NDArray[np.uint8]],
    top_ks: Sequence[int],
    *,
    tolerance: Tolerance = TOLERANCES["f32"],
    quiet: bool = True,
) -> Parity:
    """Compare on every image at every top_k and some thresholds: every expert is both run and skipped.

    A graph that takes batches is compared on one as well, of different images with different controls: each
    row must be what its image gives alone.

    Raises:
        ExportError: the checkpoint's own routers are undecided on every picture.
    """
    seen = _Comparison(model, tolerance)
    compared = [compared_controls(model, canvas, top_ks) for canvas in canvases]
    with tqdm(total=sum(map(len, compared)), unit="run", desc="compare", disable=quiet, leave=False) as bar:
        for canvas, each in zip(canvases, compared, strict=True):
            for controls in each:
                wanted = reference_outputs(model, spec, canvas, controls)
                seen.add(wanted, engine.run(canvas, controls), controls)
                bar.update()
    largest = spec.batches[-1]
    if largest > 1:
        together = list(islice(cycle(canvases), max(spec.batches[0], min(largest, len(canvases)))))
        # From the last on, so that thresholds are among them whatever the number of images.
        each_row = islice(cycle(compared), len(together))
        chosen = [of_image[-1 - row % len(of_image)] for row, of_image in enumerate(each_row)]
        outputs = engine.run_batch(together, chosen)
        for row, (canvas, controls) in enumerate(zip(together, chosen, strict=True)):
            wanted = reference_outputs(model, spec, canvas, controls)
            seen.add(wanted, {name: values[row : row + 1] for name, values in outputs.items()}, controls)
    undecided = sorted(set(top_ks) - seen.decided)
    if undecided:
        raise ExportError(
            f"at top_k={undecided[0]} the routers are within {TIE:g} of a tie on every picture, so that "
            "rounding would choose the experts; train it longer. Nothing was written."
        )
    return seen.parity(len(canvases))


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


class _Comparison:
    """What has been seen of a graph so far."""

    def __init__(self, model: Detector, tolerance: Tolerance) -> None:
        self.experts = [len(layer.experts) for layer in model.mixture_layers().values()]
        self.own_threshold = model.config.weight_threshold
        self.tolerance = tolerance
        self.decided: set[int] = set()  # every top_k at which some picture is not left to rounding
        self._errors = dict.fromkeys(("boxes_px", "boxes_excess_px", "scores", "gates"), 0.0)
        self._sets: set[bytes] = set()
        self._boxes = 0
        self._cases, self._equal_cases = 0, 0

    def add(self, wanted: Outputs, got: Outputs, controls: RoutingControls) -> None:
        """Compare the outputs of one image, unless rounding may choose its experts."""
        margin = router_margin(wanted, self.experts, controls) if self.experts else None
        if margin is not None and margin < TIE:
            return
        self.decided.add(int(controls.top_k))
        found = differences(wanted, got, self.tolerance)
        # A threshold of ours cuts through probabilities wherever they lie: only exact graphs must follow it.
        counts = self.tolerance.expert_sets == 1 or controls.weight_threshold in (0, self.own_threshold)
        if self._same_sets(wanted, got, counts=counts) or np.isnan(found["scores"]):
            self._errors = {name: max_or_nan(error, found[name]) for name, error in self._errors.items()}
            self._boxes += int(found["compared_boxes"])
        if "gates" in got and controls.weight_threshold == 0:
            self._sets.add((got["gates"] > 0).tobytes())

    def parity(self, images: int) -> Parity:
        """The whole of it."""
        return Parity(
            images=images,
            distinct_expert_sets=len(self._sets),
            boxes_px=self._errors["boxes_px"],
            boxes_excess_px=self._errors["boxes_excess_px"],
            scores=self._errors["scores"],
            gates=self._errors["gates"],
            compared_boxes=self._boxes,
            expert_sets=self._equal_cases / self._cases if self._cases else None,
            tolerance=self.tolerance,
        )

    def _same_sets(self, wanted: Outputs, got: Outputs, *, counts: bool) -> bool:
        """Whether every layer chose alike; layers that could not choose otherwise are not counted."""
        every = True
        for row, count in enumerate(self.experts):
            want, have = (outputs["gates"][0, row, :count] for outputs in (wanted, got))
            # Where all may run, a probability like 1e-40 is zero in one engine and not in the other.
            parted = ((want > 0) != (have > 0)) & (np.maximum(want, have) >= TIE)
            same = not parted.any()
            every &= same
            if counts and (not same or 0 < (want > 0).sum() < count):
                self._cases += 1
                self._equal_cases += same
        return every
