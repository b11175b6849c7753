"""Goals for the time that skipping experts saves; the benchmark compares its measurements with them.

Some goals are shares: the time that skipping experts saves, divided by the time that the bound saves. The
bound is a graph that holds only the chosen experts. The limits of these goals were measured with conditional
branches in OpenVINO on synthetic models of the same size, and rounded up. Other goals are ratios of times.
Their limits follow from the fraction of a variant's operations that is in experts.
"""

from dataclasses import dataclass
from typing import Literal

from training.config import HEAD_PLACES
from training.lab.benchmark.engines import BenchmarkPrecision
from training.models.detector import Detector

Quantity = Literal["share", "ratio", "ratio_to_reference", "ratio_to_peer"]

# Share of the bound's gain, by kind of expert: full convolutions, or light (depthwise-separable) ones. The
# routes of a network with paths skip nothing at run time. There is no goal where a combination is absent.
SHARES: dict[tuple[str, BenchmarkPrecision], float] = {
    ("full", "f32"): 0.95,
    ("full", "bf16"): 0.85,
    ("light", "f32"): 0.75,
    ("light", "bf16"): 0.50,
    ("paths", "f32"): 0.98,
    ("paths", "bf16"): 0.98,
    ("paths", "int8"): 0.98,
}
# Time relative to dense, in f32, by variant and top_k.
RATIOS: dict[tuple[str, int], float] = {
    ("modular-n", 2): 0.65,
    ("sparsight-n", 2): 0.75,
    ("sparsight-n", 1): 0.62,
}
# Time relative to another variant, in f32, by variant, other variant and top_k.
RATIOS_TO_REFERENCE: dict[tuple[str, str, int], float] = {
    ("sparsight-n", "yolov12-n", 2): 1.0,
    ("sparsight-s", "yolov12-s", 2): 1.0,
    ("sparsight-path-n", "yolov12-n", 1): 0.62,
    ("sparsight-path-n", "yolov12-n", 2): 0.80,
}
# Time relative to the fastest model of another project in the same precision, of the routes of a network with
# paths.
RATIOS_TO_PEER: dict[BenchmarkPrecision, float] = {"int8": 1.0}
AT_ALL_EXPERTS = 1.03  # time relative to dense: no expert can be skipped, and branches must cost little


@dataclass(frozen=True)
class Goal:
    """A limit on one quantity, and the measured value of this quantity (None: not measured)."""

    quantity: Quantity
    limit: float
    value: float | None = None

    @property
    def met(self) -> bool:
        """Return whether the goal is met; False if the value was not measured.

        A share must be at least the limit, and a ratio at most the limit.
        """
        if self.value is None:
            return False
        return self.value >= self.limit if self.quantity == "share" else self.value <= self.limit


def goals_for(model: Detector, reference: str, precision: BenchmarkPrecision, top_k: int) -> tuple[Goal, ...]:
    """Return the goals of an OpenVINO graph that skips experts.

    Some of the goals compare the graph's time with that of the variant `reference`.
    """
    config = model.config
    if top_k == config.allowed_top_k[-1]:
        return (Goal("ratio", AT_ALL_EXPERTS),)
    kinds = {mixture.expert for mixture in config.mixtures.values()}
    full = kinds == {"simple"} or HEAD_PLACES[0] in config.mixtures
    experts = "paths" if config.paths is not None else "full" if full else "light"
    share = SHARES.get((experts, precision)) if top_k >= 1 else None
    ratio = RATIOS.get((config.variant, top_k)) if precision == "f32" else None
    beside = RATIOS_TO_REFERENCE.get((config.variant, reference, top_k)) if precision == "f32" else None
    peer = RATIOS_TO_PEER.get(precision) if experts == "paths" else None
    limits: dict[Quantity, float | None] = {
        "share": share,
        "ratio": ratio,
        "ratio_to_reference": beside,
        "ratio_to_peer": peer,
    }
    return tuple(Goal(quantity, limit) for quantity, limit in limits.items() if limit is not None)
