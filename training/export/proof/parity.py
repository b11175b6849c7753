"""Measure how far a graph's outputs differ from its checkpoint's; refuse a graph beyond the tolerance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.errors import ExportError
from training.export.contract.precision import TOLERANCES, Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import GATES, Arrays, GraphContract
from training.export.graph.export_graph import Eager, graph_contract
from training.export.proof.engine import Runner
from training.export.proof.margin import router_margin
from training.export.tasks.task import Difference, ExportTask, equal_order
from training.export.tasks.tasks import export_task
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.progress import bar

# Thresholds that are tried in turn for each image, until no router probability is within CLEAR_MARGIN of one.
PARTING_THRESHOLDS = (0.2, 0.15, 0.25, 0.1, 0.3)
CLEAR_MARGIN = 1e-3
TIE = 1e-5  # largest change of a probability by rounding
FLOATS = ("f16", "f32")


class Reference(Protocol):
    """Computes the checkpoint's outputs."""

    def answer(self, canvas: NDArray[np.uint8], controls: RoutingControls) -> Arrays:
        """Return the outputs by name for one model input (H, W, 3)."""


@dataclass(frozen=True)
class MetricPair:
    """The task's metric of the checkpoint and of the graph on one data set, 0..1."""

    name: str  # as in the manifest: map50_95
    checkpoint: float
    graph: float


@dataclass(frozen=True)
class Parity:
    """Largest differences between graph and checkpoint over all images, every top_k and some thresholds.

    Outputs of an image are compared only if every layer chose the same experts as in the checkpoint, because
    other experts give other outputs. `expert_sets` states how often the layers chose the same experts.
    """

    images: int
    distinct_expert_sets: int  # number of (layer, experts) seen without a threshold
    differences: Mapping[str, float]  # largest absolute difference, by role of the output or name
    excess: Mapping[str, float]  # largest difference beyond the relative tolerance, by role or name
    allowed: Mapping[str, float]  # largest allowed excess, by role or name
    expert_sets: float | None = None  # share of (image, layer, top_k) with equal sets; None: no layer chooses
    metric: MetricPair | None = None  # None: there was no data
    skippable_experts: int = 0
    compared_boxes: int | None = None  # None: the task has no boxes
    undecided_top_k: int | None = None  # smallest top_k for which every image is near a tie
    tolerance: Tolerance = field(default_factory=lambda: TOLERANCES["f32"])

    def __str__(self) -> str:
        parts = [" and ".join(f"{role} within {error:.1g}" for role, error in self.differences.items())]
        if self.expert_sets is not None and self.expert_sets < 1:
            parts.insert(0, f"the same experts in {self.expert_sets:.1%} of cases")
        if self.metric is not None:
            parts.append(f"{self.metric.name} {self.metric.checkpoint:.4f} → {self.metric.graph:.4f}")
        return f"equal on {self.images} images, " + ", ".join(parts)

    def worse_of(self, other: "Parity") -> "Parity":
        """Return a Parity with the worse value of each figure in self and in other."""
        shares = [each.expert_sets for each in (self, other) if each.expert_sets is not None]
        boxes = [each.compared_boxes for each in (self, other) if each.compared_boxes is not None]
        undecided = [each.undecided_top_k for each in (self, other) if each.undecided_top_k is not None]
        return replace(
            self,
            differences=_worse(self.differences, other.differences),
            excess=_worse(self.excess, other.excess),
            expert_sets=min(shares, default=None),
            compared_boxes=min(boxes, default=None),
            undecided_top_k=min(undecided, default=None),
        )

    def unproved(self) -> list[str]:
        """Return the reasons why small differences do not show that the graph works, if any."""
        reasons = []
        if self.undecided_top_k is not None:
            reasons.append(
                f"at top_k={self.undecided_top_k} the routers are within {TIE:g} of a tie on every image, so "
                "rounding would choose the experts"
            )
        if self.compared_boxes == 0:
            reasons.append("nothing in the images scores enough for its box to be compared")
        return reasons

    def check(self) -> None:
        """Check every difference against its limit.

        Raises:
            ExportError: a difference exceeds its limit; the message names the first such difference.
        """
        if self.expert_sets is not None and not self.expert_sets >= self.tolerance.expert_sets:
            raise ExportError(
                f"the exported graph chooses the checkpoint's experts in {self.expert_sets:.1%} of cases, "
                f"each one layer on one image; at least {self.tolerance.expert_sets:.1%} are needed. "
                "Nothing was written."
            )
        for role in reversed(list(self.excess)):  # routing first, because it affects all other outputs
            error, limit = self.excess[role], self.allowed[role]
            if not error <= limit:  # written so that NaN fails too
                raise ExportError(
                    f"{role} of the exported graph differ from the checkpoint by {error:g}; "
                    f"the limit is {limit:g}. Nothing was written."
                )
        if self.metric and not self.metric.checkpoint - self.metric.graph <= self.tolerance.metric:
            raise ExportError(
                f"{self.metric.name} falls from {self.metric.checkpoint:.4f} of the checkpoint to "
                f"{self.metric.graph:.4f} of the exported graph; it may fall by {self.tolerance.metric:g}. "
                "Nothing was written."
            )


def _worse(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the larger of two differences for each role; NaN if either difference is NaN.

    Python's max does not do this: with NaN, its result depends on the order of the arguments.
    """
    return {role: float(np.maximum(one.get(role, 0.0), other.get(role, 0.0))) for role in {**one, **other}}


def measure_parity(
    model: Network,
    spec: GraphSpec,
    engine: Runner,
    canvases: Sequence[NDArray[np.uint8]],
    top_ks: Sequence[int],
    *,
    tolerance: Tolerance = TOLERANCES["f32"],
    reference: Reference | None = None,
) -> Parity:
    """Compare a graph with its checkpoint on images, at every top_k and some thresholds.

    An image on which a router is near a tie is left out, because rounding may change the chosen experts.

    If the graph takes batches, also run one batch of different images with different controls. The outputs
    for each image of this batch must equal the checkpoint's outputs for the image alone.

    Args:
        engine: runs the graph.
        canvases: model inputs (H, W, 3).
        reference: returns the checkpoint's outputs; None: from `model`, which is the checkpoint's network.
    """
    contract, reference = graph_contract(model.config, spec, tolerance), reference or Eager(model, spec)
    seen = _Comparison(model, contract, tolerance)
    compared = [compared_controls(model, canvas, top_ks, reference) for canvas in canvases]
    with bar(sum(map(len, compared)), "run", "compare") as progress:
        for canvas, each in zip(canvases, compared, strict=True):
            for controls in each:
                outputs = engine.run(contract.feed([canvas], [controls]))
                seen.add(reference.answer(canvas, controls), outputs, 0, controls)
                progress.update()
    largest = spec.batches[-1]
    if largest > 1:
        together = list(islice(cycle(canvases), max(spec.batches[0], min(largest, len(canvases)))))
        # Starting with the last controls, so that thresholds are among them even with few images.
        each_row = islice(cycle(compared), len(together))
        chosen = [of_image[-1 - row % len(of_image)] for row, of_image in enumerate(each_row)]
        outputs = engine.run(contract.feed(together, chosen))
        for row, (canvas, controls) in enumerate(zip(together, chosen, strict=True)):
            seen.add(reference.answer(canvas, controls), outputs, row, controls)
    undecided = min(set(top_ks) - seen.decided, default=None)
    return replace(seen.parity(len(canvases)), undecided_top_k=undecided)


def compared_controls(
    model: Network, canvas: NDArray[np.uint8], top_ks: Sequence[int], reference: Reference
) -> list[RoutingControls]:
    """Return the settings of top_k and threshold at which an image's outputs are compared.

    First come all values of top_k, each without a threshold. For a model with mixture layers, the highest
    top_k is then combined with the model's own threshold, if it has one. The highest top_k is also combined
    with a threshold that should be far from every router probability of the image.
    """
    found = [RoutingControls(top_k) for top_k in top_ks]
    layers = model.mixture_layers()
    if not layers or model.config.paths is not None:  # a graph of a path takes no threshold
        return found
    if model.config.weight_threshold > 0:
        found.append(RoutingControls(top_ks[-1], model.config.weight_threshold))
    experts = [len(layer.experts) for layer in layers.values()]
    for threshold in PARTING_THRESHOLDS:
        parting = RoutingControls(top_ks[-1], threshold)
        outputs = reference.answer(canvas, parting)  # gates and router_probs have their roles as names
        margin = router_margin(outputs, experts, parting)
        if margin is None or margin >= CLEAR_MARGIN:
            break
    return [*found, parting]


def answer_differences(
    task: ExportTask, want: Arrays, got: Arrays, tolerance: Tolerance
) -> dict[str, Difference]:
    """Return the differences between two answers for one image, by role; all NaN if `got` is not finite."""
    floats = [role for role, values in want.items() if values.dtype.kind == "f"]
    if not all(np.isfinite(values).all() for values in got.values()):
        return dict.fromkeys(floats, Difference(float("nan"), float("nan"), 0))
    of_the_task = task.differences(want, got, tolerance)
    # Also every other float output, such as gates: an output that is not compared is not proved.
    others = {role: equal_order(want[role], got[role]) for role in floats if role not in of_the_task}
    return {**of_the_task, **others}


class _Comparison:
    """The differences of a graph from its checkpoint, collected image by image."""

    def __init__(self, model: Network, contract: GraphContract, tolerance: Tolerance) -> None:
        self.task = export_task(model.config)
        self.contract = contract
        self.experts = [len(layer.experts) for layer in model.mixture_layers().values()]
        self.own_threshold = model.config.weight_threshold
        self.tolerance = tolerance
        self.decided: set[int] = set()  # every top_k at which some image is not near a tie
        self._differences: dict[str, float] = {}
        self._excess: dict[str, float] = {}
        self._sets: set[bytes] = set()
        self._rows = 0
        self._cases, self._equal_cases = 0, 0

    def add(self, wanted: Arrays, got: Arrays, row: int, controls: RoutingControls) -> None:
        """Compare the graph's outputs for one image with the checkpoint's, and record the differences.

        Skip the image if a change of TIE in a router's probabilities would choose other experts, because
        rounding could do the same.

        Args:
            wanted: outputs of the checkpoint for this image alone, by name.
            got: outputs of the graph for the batch, by name.
            row: row of the image in the batch.
            controls: the controls of this image.
        """
        want = self.contract.by_role(wanted)
        have = self.contract.by_role(got, slice(row, row + 1))
        margin = router_margin(want, self.experts, controls) if self.experts else None
        if margin is not None and margin < TIE:
            return
        self.decided.add(int(controls.top_k))
        found = answer_differences(self.task, want, have, self.tolerance)
        # Thresholds that are not the model's own may be near a probability: rounding then changes the sets.
        counts = self.tolerance.expert_sets == 1 or controls.weight_threshold in (0, self.own_threshold)
        no_number = any(np.isnan(each.largest) for each in found.values())
        if self._same_sets(want, have, counts=counts) or no_number:
            largest = {role: each.largest for role, each in found.items()}
            self._differences = _worse(self._differences, largest)
            self._excess = _worse(self._excess, {role: each.excess for role, each in found.items()})
            self._rows += found[self.task.counted].compared if self.task.counted else 0
        if GATES in have and controls.weight_threshold == 0:
            self._sets.add((have[GATES] > 0).tobytes())

    def parity(self, images: int) -> Parity:
        """Return the largest differences of all images so far."""
        allowed = {
            **self.task.further_limits(self.tolerance),
            **{each.role: each.absolute for each in self.contract.outputs if each.dtype in FLOATS},
        }
        return Parity(
            images=images,
            distinct_expert_sets=len(self._sets),
            differences={name: self._differences.get(name, 0.0) for name in allowed},
            excess={name: self._excess.get(name, 0.0) for name in allowed},
            allowed=allowed,
            compared_boxes=self._rows if self.task.counted else None,
            expert_sets=self._equal_cases / self._cases if self._cases else None,
            tolerance=self.tolerance,
        )

    def _same_sets(self, wanted: Arrays, got: Arrays, *, counts: bool) -> bool:
        """Return whether every layer chose the same experts in both answers.

        Args:
            counts: whether this comparison counts for `expert_sets`, the share of layers with the same
                experts. A layer that runs none or all of its experts in both answers never counts.
        """
        every = True
        for row, count in enumerate(self.experts):
            want, have = (outputs[GATES][0, row, :count] for outputs in (wanted, got))
            # If all experts may run, a gate like 1e-40 may be zero in one engine and not in the other.
            parted = ((want > 0) != (have > 0)) & (np.maximum(want, have) >= TIE)
            same = not parted.any()
            every &= same
            if counts and (not same or 0 < (want > 0).sum() < count):
                self._cases += 1
                self._equal_cases += same
        return every
