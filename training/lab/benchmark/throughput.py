"""Measure images per second with all cores busy: many requests of one image each run at the same time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from training.export.proof.openvino_engine import HINTS, open_cpu
from training.lab.benchmark.engines import BenchmarkPrecision, Inputs
from training.lab.benchmark.subjects import Form

SLICES = 5
SLICE_S = 2.0


@dataclass(frozen=True)
class Throughput:
    """The throughput of one form of a model; OpenVINO chooses the number of streams and threads."""

    form: Form
    precision: BenchmarkPrecision
    images_per_s: float  # median over the slices
    requests: int  # at the same time


def measure_throughput(
    sources: Mapping[Form, tuple[Any, Inputs]], precision: BenchmarkPrecision
) -> tuple[Throughput, ...]:
    """Return the median images per second of each form of a model.

    The forms are measured in turns. Each turn lasts SLICE_S seconds, and each form has SLICES turns.
    """
    import openvino as ov

    core = open_cpu()
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "THROUGHPUT"}
    queues = {}
    compiled = {
        source: core.compile_model(core.read_model(source), "CPU", settings)
        for source in {source for source, _ in sources.values()}
    }
    for form, (source, inputs) in sources.items():
        queue = ov.AsyncInferQueue(compiled[source])
        for request in queue:
            for name, values in inputs.items():
                request.get_tensor(name).data[:] = values
        queues[form] = queue
        _fill(queue, 0.0)  # warm
    rates: dict[Form, list[float]] = {form: [] for form in queues}
    for _ in range(SLICES):
        for form, queue in queues.items():
            rates[form].append(_fill(queue, SLICE_S))
    return tuple(
        Throughput(form, precision, median(rates[form]), len(queue)) for form, queue in queues.items()
    )


def _fill(queue: Any, seconds: float) -> float:
    """Start requests for at least `seconds`, wait until all are done, and return the images per second."""
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or images < len(queue):
        queue.start_async()
        images += 1
    queue.wait_all()
    return images / (time.perf_counter() - start)
