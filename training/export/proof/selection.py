"""Time the sparse graph, which skips experts, and the dense graph, and select the faster one."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.export.contract.spec import Execution
from training.export.contract.tensors import Arrays
from training.export.proof.engine import Engine
from training.rounds import time_in_rounds

LEAST_GAIN = 0.03  # machines differ by as much; below it, the dense graph is released, which is simpler
ROUNDS = 9
IMAGES = 6


@dataclass(frozen=True)
class Speed:
    """The times of the sparse and the dense graph for one image at the default top_k."""

    sparse_to_dense: float  # median over rounds
    sparse_ms: float
    dense_ms: float
    machine: str

    @property
    def faster(self) -> Execution:
        """Return which graph to release: sparse if it is faster by at least LEAST_GAIN (3 %), else dense."""
        return "sparse" if self.sparse_to_dense <= 1 - LEAST_GAIN else "dense"

    def __str__(self) -> str:
        ratio = f"sparse/dense {self.sparse_to_dense:.3f}, the median of {ROUNDS} rounds"
        times = f"medians {self.sparse_ms:.3g} ms and {self.dense_ms:.3g} ms"
        gain = "" if self.faster == "sparse" else f", a gain of less than {LEAST_GAIN:.0%}"
        return f"{ratio} ({times}){gain}: {self.faster} is chosen"


def measure_speed(
    engines: Mapping[Execution, Engine],
    inputs: Sequence[Arrays],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time both graphs in turn on the same images.

    On different images, the graphs could run different experts, so the times could not be compared.

    Args:
        inputs: for each image, the inputs of one run by name; at most IMAGES (6) images are timed.
        clock: returns the time in seconds.
    """
    timed = inputs[:: -(-len(inputs) // IMAGES)]

    def run_of(engine: Engine) -> Callable[[], object]:
        return lambda: [engine.run(each) for each in timed]

    runs = {execution: run_of(engine) for execution, engine in engines.items()}
    seconds = time_in_rounds(runs, (), ROUNDS, clock=clock).seconds
    sparse, dense = np.array(seconds["sparse"]), np.array(seconds["dense"])
    sparse_ms, dense_ms = (round(float(np.median(each)) * 1000 / len(timed), 3) for each in (sparse, dense))
    ratio = round(float(np.median(sparse / dense)), 4)
    return Speed(ratio, sparse_ms, dense_ms, engines["dense"].machine)
