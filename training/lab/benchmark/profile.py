"""Measure how long each layer of a sparse graph takes, with OpenVINO's performance counters."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from training.lab.benchmark.engines import BenchmarkPrecision, Inputs, OpenVinoEngine, Source

RUNS = 20
TOP_LAYERS = 12

_Layer = tuple[str, str]  # name and operator
ByOperator = Mapping[str, tuple[float, int]]  # seconds and layers, the slowest first


@dataclass(frozen=True)
class Profile:
    """The seconds that operators and layers take in one run of a graph.

    The time of a branch includes the times of the layers inside it.
    """

    label: str
    precision: BenchmarkPrecision
    top_k: int
    by_operator: ByOperator
    bound: ByOperator  # of the bound; empty if the bound is the dense model
    by_layer: tuple[tuple[str, str, float], ...]  # name, operator and seconds of the slowest

    @property
    def seconds(self) -> float:
        """Return the sum of the layers' seconds, without the engine's time between layers."""
        return sum(seconds for seconds, _ in self.by_operator.values())

    @property
    def bound_seconds(self) -> float:
        """Return the sum of the seconds of all layers of the bound."""
        return sum(seconds for seconds, _ in self.bound.values())


def profile(
    label: str,
    top_k: int,
    sparse: tuple[Source, Inputs],
    bound: tuple[Source, Inputs] | None,
    precision: BenchmarkPrecision,
    threads: int,
) -> Profile:
    """Run a sparse graph and its bound in turns, and keep each layer's shortest time.

    The bound is a graph that holds only the chosen experts. The shortest time is kept because other programs
    on the machine can only make a layer slower. `sparse` must be a graph without a switch over top_k, because
    the engine would count the whole switch as one layer.
    """
    engine = OpenVinoEngine(precision, threads, profiling=True)
    requests = [engine.request(*each) for each in (sparse, bound) if each]
    seen: list[dict[_Layer, float]] = [{} for _ in requests]
    for _ in range(RUNS):
        for request, least in zip(requests, seen, strict=True):
            request.infer()
            for counted in request.get_profiling_info():
                layer, seconds = (counted.node_name, counted.node_type), counted.real_time.total_seconds()
                least[layer] = min(seconds, least.get(layer, seconds))
    layers = sorted(((*layer, seconds) for layer, seconds in seen[0].items()), key=lambda each: -each[2])
    by_operator = [_by_operator(each) for each in seen]
    bound_operators = by_operator[1] if bound else {}
    return Profile(label, precision, top_k, by_operator[0], bound_operators, tuple(layers[:TOP_LAYERS]))


def _by_operator(layers: Mapping[_Layer, float]) -> ByOperator:
    operators: dict[str, list[float]] = defaultdict(list)
    for (_, operator), seconds in layers.items():
        if seconds:
            operators[operator].append(seconds)
    slowest = sorted(operators.items(), key=lambda item: -sum(item[1]))
    return {operator: (sum(times), len(times)) for operator, times in slowest}
