"""Whether skipping experts pays on this machine."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.export.contract.spec import Execution
from training.export.contract.tensors import Arrays
from training.export.proof.engine import Engine
from training.rounds import time_in_rounds

LEAST_GAIN = 0.03  # less is within what machines differ by, and a dense graph is the simpler one
ROUNDS = 9
IMAGES = 6


@dataclass(frozen=True)
class Speed:
    """What one image took, one at a time, at the default top_k."""

    sparse_to_dense: float  # median over rounds
    sparse_ms: float
    dense_ms: float
    machine: str

    @property
    def faster(self) -> Execution:
        """Return what to ship."""
        return "sparse" if self.sparse_to_dense <= 1 - LEAST_GAIN else "dense"

    def __str__(self) -> str:
        found = (
            f"sparse {self.sparse_ms:.3g} ms, dense {self.dense_ms:.3g} ms, ratio {self.sparse_to_dense:.3f}"
        )
        if self.faster == "sparse":
            return f"{found}; sparse it is"
        return f"{found}, a gain of less than {LEAST_GAIN:.0%}; dense it is"


def measure_speed(
    engines: Mapping[Execution, Engine],
    inputs: Sequence[Arrays],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time both forms in turn on the same images: which experts run decides what is skipped.

    Args:
        inputs: of one run each, by name.
    """
    timed = inputs[:: -(-len(inputs) // IMAGES)]
    runs = {execution: _runner(engine, timed) for execution, engine in engines.items()}
    seconds = time_in_rounds(runs, (), ROUNDS, clock=clock).seconds
    sparse, dense = np.array(seconds["sparse"]), np.array(seconds["dense"])
    sparse_ms, dense_ms = (round(float(np.median(each)) * 1000 / len(timed), 3) for each in (sparse, dense))
    ratio = round(float(np.median(sparse / dense)), 4)
    return Speed(ratio, sparse_ms, dense_ms, engines["dense"].machine)


def _runner(engine: Engine, timed: Sequence[Arrays]) -> Callable[[], object]:
    """Return a run of all images: what is timed in a round must be the same for both."""
    return lambda: [engine.run(each) for each in timed]
