"""Where the time of one sparse run goes, by what OpenVINO counts of every layer."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from training.benchmark.engines import BenchmarkPrecision, Inputs, OpenVinoEngine, Source

RUNS = 10
TOP_LAYERS = 12

ByOperator = Mapping[str, tuple[float, int]]  # seconds and layers, dearest first


@dataclass(frozen=True)
class Profile:
    """Seconds of one run. A branch counts with all that ran in it."""

    label: str
    precision: BenchmarkPrecision
    top_k: int
    by_operator: ByOperator
    bound: ByOperator  # of the same experts with nothing to choose; empty where that is the dense model
    by_layer: tuple[tuple[str, str, float], ...]  # name, operator and seconds of the dearest

    @property
    def seconds(self) -> float:
        """All layers; what the engine does between them is not in it."""
        return sum(seconds for seconds, _ in self.by_operator.values())

    @property
    def bound_seconds(self) -> float:
        """Likewise of the bound."""
        return sum(seconds for seconds, _ in self.bound.values())


def profile(
    label: str,
    sparse: tuple[Source, Inputs],
    bound: tuple[Source, Inputs] | None,
    precision: BenchmarkPrecision,
    threads: int,
) -> Profile:
    """Run a graph some times with counters on; for each layer the median over the runs.

    Args:
        sparse: without a switch around it, of which an engine would count one layer.
        bound: likewise counted, if there is one.
    """
    layers = _layers(*sparse, precision, threads)
    return Profile(
        label,
        precision,
        int(sparse[1]["top_k"][0, 0]),
        _by_operator(layers),
        _by_operator(_layers(*bound, precision, threads)) if bound else {},
        tuple(layers[:TOP_LAYERS]),
    )


def _layers(
    source: Source, inputs: Inputs, precision: BenchmarkPrecision, threads: int
) -> list[tuple[str, str, float]]:
    request = OpenVinoEngine(precision, threads, profiling=True).request(source, inputs)
    request.infer()
    seen: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(RUNS):
        request.infer()
        for counted in request.get_profiling_info():
            seen[counted.node_name, counted.node_type].append(counted.real_time.total_seconds())
    found = ((name, operator, median(times)) for (name, operator), times in seen.items() if any(times))
    return sorted(found, key=lambda layer: -layer[2])


def _by_operator(layers: list[tuple[str, str, float]]) -> ByOperator:
    operators: dict[str, list[float]] = defaultdict(list)
    for _, operator, seconds in layers:
        operators[operator].append(seconds)
    dearest = sorted(operators.items(), key=lambda item: -sum(item[1]))
    return {operator: (sum(times), len(times)) for operator, times in dearest}
