"""Where the time of one sparse run goes, by what OpenVINO counts of every layer."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from training.benchmark.engines import BenchmarkPrecision, Inputs, OpenVinoEngine, Source

RUNS = 10
TOP_LAYERS = 12


@dataclass(frozen=True)
class Profile:
    """Seconds of one run. A branch counts with all that ran in it."""

    label: str
    precision: BenchmarkPrecision
    top_k: int
    by_operator: Mapping[str, tuple[float, int]]  # seconds and layers, dearest first
    by_layer: tuple[tuple[str, str, float], ...]  # name, operator and seconds of the dearest

    @property
    def seconds(self) -> float:
        """All layers; what the engine does between them is not in it."""
        return sum(seconds for seconds, _ in self.by_operator.values())


def profile(
    label: str, source: Source, inputs: Inputs, precision: BenchmarkPrecision, threads: int
) -> Profile:
    """Run a graph some times with counters on; for each layer the median over the runs."""
    request = OpenVinoEngine(precision, threads, profiling=True).request(source, inputs)
    request.infer()
    seen: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(RUNS):
        request.infer()
        for counted in request.get_profiling_info():
            seen[counted.node_name, counted.node_type].append(counted.real_time.total_seconds())
    layers = sorted(
        ((name, operator, median(times)) for (name, operator), times in seen.items() if any(times)),
        key=lambda layer: -layer[2],
    )
    operators: dict[str, list[float]] = defaultdict(list)
    for _, operator, seconds in layers:
        operators[operator].append(seconds)
    dearest = sorted(operators.items(), key=lambda item: -sum(item[1]))
    return Profile(
        label,
        precision,
        int(inputs["top_k"][0, 0]),
        {operator: (sum(times), len(times)) for operator, times in dearest},
        tuple(layers[:TOP_LAYERS]),
    )
