"""Times dense, gathered and grouped dispatch of sparsight-n: eager, compiled and as CUDA graphs."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch._dynamo.utils import counters

from tests.gpu.given import Given, read_given
from tests.gpu.results import Results
from tests.gpu.sparsight import (
    MODEL_FILE,
    SCENE_CLASS_NAMES,
    Detector,
    Dispatch,
    FoldedDataset,
    Gathered,
    evaluation_batches,
    half_precision,
    load_model,
    model_config,
    open_dataset,
    order,
    recipe_splits,
)

ROUNDS, FEWEST_ROUNDS = 9, 3
MOST_S = 10.0  # after this time, FEWEST_ROUNDS are enough
CALLS = 4  # calls without a pause, for throughput
WARM_UPS = 3
BATCHES = (8, 1, 32)  # the most important first, in case the time ends
COMPILE_S = 30.0  # assumed time of a compilation until one has been timed

Run = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subject:
    """One way to run the detector on one batch."""

    dispatch: str
    mode: str
    call: Callable[[], object]


def main() -> int:
    """Time the dispatches until the time ends; return 1 if they disagree or a check fails."""
    begun_s = time.monotonic()
    given = read_given()
    results = Results(given.results, "latency")
    detector, weights = model(given)
    results.record("weights", "measured", of=weights, precision="f16", top_k=detector.config.top_k)
    batches = (1, 2) if given.smallest else BATCHES
    gathered = Gathered(detector.config.top_k)
    dispatches: dict[str, Dispatch] = {"dense": "dense", "gathered": gathered, "grouped": "grouped"}
    for batch in batches:
        images = inputs(detector, batch, given)
        runs = {name: partial(forward, detector, each) for name, each in dispatches.items()}
        with results.check(f"batch {batch}: dispatches agree") as found:
            found.update(experts_run=experts_run(detector, images), **disagreement(runs, images))
        with results.check(f"batch {batch}: eager and CUDA graphs"):
            subjects = [Subject(name, "eager", partial(run, images)) for name, run in runs.items()]
            subjects += list(graphs(runs, images, "graph"))
            measure(subjects, batch, results, given)
    deadline_s = begun_s + given.seconds
    compile_s = 0.0 if given.smallest else COMPILE_S
    # Grouped last: it is compiled again for each number of images that an expert gets.
    for name in ("gathered", "grouped"):
        pair = {each: dispatches[each] for each in ("dense", name)}
        for batch in batches:
            compile_s = compiled(detector, pair, batch, results, given, deadline_s - compile_s) or compile_s
    return 1 if results.failed else 0


def model(given: Given) -> tuple[Detector, str]:
    """Return the detector in half precision on the device, and where its weights come from."""
    path = given.results / MODEL_FILE
    if path.exists():
        detector, weights = load_model(path)[0], "the training before"
    else:
        torch.manual_seed(0)
        side = 64 if given.smallest else 640
        detector = Detector(model_config("sparsight-n", SCENE_CLASS_NAMES, (side, side)))
        weights = "random"
    halved = half_precision(detector).to(given.device)
    return halved.to(memory_format=torch.channels_last), weights  # type: ignore[call-overload]


def inputs(detector: Detector, batch: int, given: Given) -> Tensor:
    """Return validation images (B, H, W, 3) uint8, spread over the data so that they choose other experts."""
    splits = recipe_splits("starter", given.packed / "data")
    assert splits is not None
    validation = open_dataset(splits.val)
    spread_out = FoldedDataset(validation, max(1, len(validation) // batch), (0,))
    first = next(iter(evaluation_batches(spread_out, detector.config.input_hw, batch)))
    return first.images.to(given.device)


@torch.no_grad()
def forward(detector: Detector, dispatch: Dispatch, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boxes and scores of every anchor."""
    return detector.decode(detector(images, dispatch=dispatch))


@torch.no_grad()
def experts_run(detector: Detector, images: Tensor) -> str:
    """Return how many of all experts at least one image chose; grouped runs only these."""
    gates = [routing.gate > 0 for routing in detector(images).routings.values()]
    return f"{sum(int(g.any(dim=0).sum()) for g in gates)} of {sum(g.shape[1] for g in gates)}"


def disagreement(runs: Mapping[str, Run], images: Tensor) -> dict[str, float]:
    """Return the largest difference of each dispatch's scores from those of dense.

    Raises:
        AssertionError: a difference is larger than rounding to half precision explains.
    """
    want = runs["dense"](images)[1]
    found = {name: float((runs[name](images)[1] - want).abs().max()) for name in runs if name != "dense"}
    assert max(found.values()) < 0.05, f"scores differ: {found}"
    return found


def graphs(runs: Mapping[str, Run], images: Tensor, mode: str) -> Iterator[Subject]:
    """Yield CUDA graphs of all runs but grouped, which waits for the device to count images."""
    if images.device.type != "cuda":
        return
    for name, run in runs.items():
        if name != "grouped":
            yield Subject(name, mode, captured(partial(run, images)))


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """Return a function that replays a call as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> object:
        graph.replay()
        return kept  # the graph writes into this memory, so it must not be freed

    return replay


def compiled(
    detector: Detector,
    dispatches: Mapping[str, Dispatch],
    batch: int,
    results: Results,
    given: Given,
    start_by_s: float,
) -> float | None:
    """Time compiled runs of one batch; return the seconds of the longest compilation, None if there was none.

    Each batch size is compiled with fixed shapes: with an open batch size, the grouped convolutions of
    gathered dispatch cannot be compiled.

    Args:
        start_by_s: a time of time.monotonic(); compilations that have not begun by then are skipped.
    """
    images = inputs(detector, batch, given)
    torch.compiler.reset()
    backend = "aot_eager" if given.smallest else "inductor"
    ready: dict[str, Run] = {}
    took_s: list[float] = []
    for name, dispatch in dispatches.items():
        if time.monotonic() > start_by_s:
            results.record(f"batch {batch}: {name} is compiled", "skipped", why="no time left")
            continue
        with results.check(f"batch {batch}: {name} is compiled") as found:
            begun_s = time.monotonic()
            counters.clear()
            run = torch.compile(partial(forward, detector, dispatch), dynamic=False, backend=backend)
            for _ in range(WARM_UPS):
                run(images)
            wait(given.device)
            took_s.append(time.monotonic() - begun_s)
            found["seconds"] = took_s[-1]
            found["graph_breaks"] = sum(counters["graph_break"].values())
            ready[name] = run
    if not ready:
        return None
    with results.check(f"batch {batch}: compiled and CUDA graphs of it"):
        subjects = [Subject(name, "compiled", partial(run, images)) for name, run in ready.items()]
        subjects += list(graphs(ready, images, "compiled graph"))
        measure(subjects, batch, results, given)
    return max(took_s)


def measure(subjects: Sequence[Subject], batch: int, results: Results, given: Given) -> None:
    """Time subjects in alternating rounds, and record each with its ratio to dense in the same mode."""
    one, many = timed(subjects, 1, given), timed(subjects, CALLS, given)
    for index, subject in enumerate(subjects):
        dense = next(
            (i for i, s in enumerate(subjects) if (s.dispatch, s.mode) == ("dense", subject.mode)), None
        )
        values = {"latency_ms": spread([1e3 * s for s in one[index]])}
        values["images_per_s"] = spread([batch / s for s in many[index]])
        if dense is not None and dense != index:
            values["latency_of_dense"] = spread(ratios(one[index], one[dense]))
            values["throughput_of_dense"] = spread(ratios(many[dense], many[index]))
        rounds = {"latency_s": one[index], "call_s": many[index]}
        check = f"batch {batch}: {subject.dispatch} {subject.mode}"
        results.record(check, "measured", **values, rounds=rounds)


def timed(subjects: Sequence[Subject], calls: int, given: Given) -> list[list[float]]:
    """Return the seconds per call of each subject in each round; a round makes `calls` calls without a pause.

    The order of the subjects changes from round to round. Each subject runs once untimed before it is timed.
    """
    seconds: list[list[float]] = [[] for _ in subjects]
    begun_s = time.monotonic()
    for number in range(FEWEST_ROUNDS if given.smallest else ROUNDS):
        if number >= FEWEST_ROUNDS and time.monotonic() - begun_s > MOST_S:
            break
        for index in order(range(len(subjects)), number):
            call = subjects[index].call
            call()
            wait(given.device)
            started_s = time.perf_counter()
            for _ in range(calls):
                call()
            wait(given.device)
            seconds[index].append((time.perf_counter() - started_s) / calls)
    return seconds


def ratios(seconds: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return, for each round, the seconds divided by the others' seconds."""
    return [a / b for a, b in zip(seconds, others, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the smallest and the largest value."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    raise SystemExit(main())
