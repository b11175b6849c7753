"""Measures whether batches of one path gain anything on a CPU: `python -m tests.load.path_batches`.

    .venv/bin/python -m tests.load.path_batches --variant sparsight-path-n --batch 4 --batch 8 --rounds 8

The script builds a network with paths with random weights. It runs the route of one image, with its router,
as the gateway does: OpenVINO with a stream for each core, ONNX Runtime with as many calls at once as cores.
No core is ever idle. In a round, each engine runs each top_k with each batch size for some seconds, in turns.
For each, the table has the images per second and the processor time of an image. "Gain" is how many times as
many images a batch gives as single images of the same engine and top_k in the same round; "gain by CPU" is
the same per second of processor time, which says more if other programs use the cores. The last column
compares the processor time with OpenVINO's. Ratios are the median over the rounds, with the lowest and
highest. The experts of such a network have one shape, so all routes of a top_k take the same time.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import openvino as ov
from numpy.typing import NDArray

from tests.load.machine import describe_machine
from training.export.contract.spec import GraphSpec, route_top_ks
from training.export.proof.onnxruntime_engine import session_options
from training.export.proof.openvino_engine import save_openvino
from training.lab.benchmark.on_path import route_of_image, route_to_onnx
from training.lab.benchmark.subjects import VARIANT_INPUT_HW, Subject, benchmark_canvas, named_variant
from training.rounds import order

ENGINES = ("openvino", "onnxruntime")
INPUT = "images"


class Form(NamedTuple):
    """What is timed."""

    engine: str
    top_k: int
    batch: int


class Slice(NamedTuple):
    """The speed of a form in one round."""

    images_s: float
    cpu_ms: float  # processor time of an image


Run = Callable[[], object]


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="sparsight-path-n", help="default: %(default)s")
    parser.add_argument("--batch", type=int, action="append", help="may be repeated; default: 4 and 8")
    parser.add_argument("--rounds", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a form in a round (default: 2)")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    subject = named_variant(args.variant, VARIANT_INPUT_HW, None)
    batches = sorted({1, *(args.batch or (4, 8))})
    if subject.model.config.paths is None:
        parser.error(f"{args.variant} has no paths")
    print(describe_machine(("openvino", "onnxruntime"), also=f"{args.rounds} rounds of {args.seconds:g} s"))
    with tempfile.TemporaryDirectory() as folder:
        runs = prepare(subject, batches, cores, Path(folder))
        with ThreadPoolExecutor(cores) as callers:
            print_table(measure(runs, args.rounds, args.seconds, cores, callers))
    return 0


def prepare(subject: Subject, batches: Sequence[int], cores: int, folder: Path) -> dict[Form, Run]:
    """Return the function that runs each form once; `cores` threads may call it at the same time."""
    found: dict[Form, Run] = {}
    canvas = benchmark_canvas(subject.model.config.input_hw)
    spec = GraphSpec("dense", "graph", max_batch=max(batches))
    for top_k in route_top_ks(subject.model.config):
        file = folder / f"k{top_k}.onnx"
        onnx.save(route_to_onnx(subject.model, route_of_image(subject.model, canvas, top_k), spec), file)
        save_openvino(file, file.with_suffix(".xml"))
        session = onnxruntime.InferenceSession(file, session_options(cores))
        for batch in batches:
            images = np.stack([canvas] * batch)
            found[Form("openvino", top_k, batch)] = on_openvino(file.with_suffix(".xml"), images, cores)
            found[Form("onnxruntime", top_k, batch)] = on_onnxruntime(session, images)
    return found


def on_openvino(file: Path, images: NDArray[np.uint8], cores: int) -> Run:
    """Return a function that runs a graph compiled for this batch, with one stream for each core."""
    core = ov.Core()
    model = core.read_model(file)
    model.reshape({INPUT: images.shape})
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
    compiled = core.compile_model(model, "CPU", settings)
    idle = [compiled.create_infer_request() for _ in range(cores)]

    def run() -> None:
        request = idle.pop()  # as many requests as callers
        request.infer({INPUT: images}, share_inputs=True)
        idle.append(request)

    return run


def on_onnxruntime(session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> Run:
    """Return a function that runs a session for this batch."""
    return lambda: session.run(None, {INPUT: images})


def measure(
    runs: dict[Form, Run], rounds: int, seconds: float, cores: int, callers: ThreadPoolExecutor
) -> dict[Form, list[Slice]]:
    """Return the speed of each form in each round; every caller always has a run."""

    def timed(form: Form) -> Slice:
        began, cpu_began = time.perf_counter(), time.process_time()

        def until_end() -> int:
            count = 0
            while time.perf_counter() < began + seconds or count == 0:
                runs[form]()
                count += form.batch
            return count

        images = sum(caller.result() for caller in [callers.submit(until_end) for _ in range(cores)])
        cpu_s = time.process_time() - cpu_began
        return Slice(images / (time.perf_counter() - began), cpu_s / images * 1e3)

    for run in runs.values():  # warm
        run()
    found: dict[Form, list[Slice]] = {form: [] for form in runs}
    for number in range(rounds):
        for form in order(list(runs), number):
            found[form].append(timed(form))
    return found


def print_table(found: dict[Form, list[Slice]]) -> None:
    """Print a row for each form."""
    print("\n| top_k | batch | engine | images/s | CPU ms | gain | gain by CPU | OpenVINO's CPU / this |")
    print("|---|---|---|---|---|---|---|---|")
    for form in sorted(found, key=lambda each: (each.top_k, each.batch, each.engine)):
        own, single = found[form], found[form._replace(batch=1)]
        other = found[form._replace(engine=ENGINES[0])]
        rates, cpu_ms = [one.images_s for one in own], [one.cpu_ms for one in own]
        cells = (
            f"{form.top_k} | {form.batch} | {form.engine} | {median(rates):.1f} | {median(cpu_ms):.1f}",
            ratio(rates, [one.images_s for one in single]),
            ratio([one.cpu_ms for one in single], cpu_ms),
            ratio([one.cpu_ms for one in other], cpu_ms),
        )
        print(f"| {' | '.join(cells)} |")


def ratio(values: Sequence[float], base: Sequence[float]) -> str:
    """Return the median of the ratios in a round, with the lowest and highest."""
    ratios = [one / other for one, other in zip(values, base, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    raise SystemExit(main())
