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
MOST_S = 10.0  # of rounds; after so long the fewest are enough
CALLS = 4  # back to back, for throughput
WARM_UPS = 3
BATCHES = (8, 1, 32)  # what is most asked for comes first, should the time end
COMPILE_S = 30.0  # what one more compilation may take, before one has been timed

Run = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subject:
    """One way to run the detector on one batch."""

    dispatch: str
    mode: str
    call: Callable[[], object]


def main() -> int:
    """Time everything that the time holds; 1 if dispatches disagree or something breaks."""
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
    # Grouped last: each number of images that an expert gets is compiled anew.
    for name in ("gathered", "grouped"):
        pair = {each: dispatches[each] for each in ("dense", name)}
        for batch in batches:
            compile_s = compiled(detector, pair, batch, results, given, deadline_s - compile_s) or compile_s
    return 1 if results.failed else 0


def model(given: Given) -> tuple[Detector, str]:
    """Return the detector in half precision on the device: just trained, else with random weights."""
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
    """Return validation images (B, H, W, 3) uint8 from all over the data: they choose differently."""
    splits = recipe_splits("starter", given.packed / "data")
    assert splits is not None
    validation = open_dataset(splits.val)
    spread_out = FoldedDataset(validation, max(1, len(validation) // batch), (0,))
    first = next(iter(evaluation_batches(spread_out, detector.config.input_hw, batch)))
    return first.images.to(given.device)


@torch.no_grad()
def forward(detector: Detector, dispatch: Dispatch, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes and scores of every anchor."""
    return detector.decode(detector(images, dispatch=dispatch))


@torch.no_grad()
def experts_run(detector: Detector, images: Tensor) -> str:
    """Return how many experts some image chose, of all in all layers: grouped runs these."""
    gates = [routing.gate > 0 for routing in detector(images).routings.values()]
    return f"{sum(int(g.any(dim=0).sum()) for g in gates)} of {sum(g.shape[1] for g in gates)}"


def disagreement(runs: Mapping[str, Run], images: Tensor) -> dict[str, float]:
    """Return by how much scores of other dispatches differ from those of dense.

    Raises:
        AssertionError: by more than half precision explains.
    """
    want = runs["dense"](images)[1]
    found = {name: float((runs[name](images)[1] - want).abs().max()) for name in runs if name != "dense"}
    assert max(found.values()) < 0.05, f"scores differ: {found}"
    return found


def graphs(runs: Mapping[str, Run], images: Tensor, mode: str) -> Iterator[Subject]:
    """Yield a captured CUDA graph of each run that can be: grouped waits for the device to count images."""
    if images.device.type != "cuda":
        return
    for name, run in runs.items():
        if name != "grouped":
            yield Subject(name, mode, captured(partial(run, images)))


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """Return what replays a call as one CUDA graph."""
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
        return kept  # the graph writes there: it must not be freed

    return replay


def compiled(
    detector: Detector,
    dispatches: Mapping[str, Dispatch],
    batch: int,
    results: Results,
    given: Given,
    start_by_s: float,
) -> float | None:
    """Time compiled runs of one batch; returns how long the longest compilation took, None if there was none.

    Each has shapes of its own: with a batch of any size, gathered's groups could not be compiled.

    Args:
        start_by_s: by time.monotonic(); what has not begun by then is recorded as skipped.
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
    """Time subjects in interleaved rounds, and record each with its ratio to dense of the same mode."""
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
    """Return seconds a call of each subject in each round, of calls back to back.

    The order turns and reverses from round to round, and each runs once untimed before it is timed.
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
    """Return, round by round, how many times the others' seconds these are."""
    return [a / b for a, b in zip(seconds, others, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the extremes."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    raise SystemExit(main())
