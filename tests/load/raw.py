"""Run the graph of an artifact with nothing around it, as the bound of what a service can answer.

    echo '{"choose": 1}' | .venv/bin/python -m tests.load.raw model_repository/starter-openvino/1 PHOTO.jpg

The process reads one JSON object a line, and answers each with a line of JSON. First comes {"choose": 1}, so
that it chooses the fastest of the usual settings. Then {"seconds": 3} runs as many images as possible, with
{"seconds": 3, "decode": ["PHOTO.jpg"]} from files, and {"seconds": 3, "rate": 20, "seed": 0} runs images that
arrive at random moments.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tests.load.callers import ROOT, arrivals
from tests.load.naive import Detector

Inputs = dict[str, NDArray[Any]]


def usual_settings(cores: int) -> dict[str, dict[str, Any]]:
    """Return the settings that people try, by a name for the table."""
    return {
        "hint throughput": {"PERFORMANCE_HINT": "THROUGHPUT"},
        "hint latency": {"PERFORMANCE_HINT": "LATENCY"},
        "1 stream of all cores": {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": cores},
        "1 stream a core": {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores},
    }


class RawEngine:
    """The engine in a process of its own, so that it is idle while others are measured."""

    def __init__(self, artifact: Path, images: Sequence[str], seconds: float) -> None:
        """Start the process, and wait until it has tried all settings, each for some seconds."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.raw", str(artifact), *images],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.settings: str = self._ask(choose=seconds)["settings"]

    def images_s(self, seconds: float) -> float:
        """Return how many images per second the engine answers if it always has work."""
        return float(self._ask(seconds=seconds)["images_s"])

    def decoded_images_s(self, seconds: float, images: Sequence[str]) -> float:
        """Return the same if image files are decoded and resized in turns first, as a service has to."""
        return float(self._ask(seconds=seconds, decode=list(images))["images_s"])

    def latencies_ms(self, seconds: float, rate: float, seed: int) -> list[float]:
        """Return the latencies of images that arrive at random moments, from the planned arrival."""
        return list(self._ask(seconds=seconds, rate=rate, seed=seed)["latencies_ms"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the engine failed; see its error above")
        return dict(json.loads(line))


def best_queue(
    detector: Detector, inputs: Sequence[Inputs], seconds: float
) -> tuple[str, ov.AsyncInferQueue]:
    """Return the fastest of the usual settings, and a queue of infer requests with it."""
    usual = usual_settings(len(os.sched_getaffinity(0)))
    queues = {name: ov.AsyncInferQueue(detector.compile(engine)) for name, engine in usual.items()}
    rates: dict[str, list[float]] = {name: [] for name in usual}
    for _ in range(3):
        for name, queue in queues.items():
            rates[name].append(images_s(queue, cycle(inputs), seconds / 3))
    best = max(rates, key=lambda name: sorted(rates[name])[1])
    print({name: [round(rate, 1) for rate in found] for name, found in rates.items()}, file=sys.stderr)
    return best, queues[best]


def images_s(queue: ov.AsyncInferQueue, inputs: Iterator[Inputs], seconds: float) -> float:
    """Return the images per second of a queue that always has work."""
    queue.set_callback(lambda request, _: None)
    started_s, count = time.perf_counter(), 0
    while time.perf_counter() < started_s + seconds:
        queue.start_async(next(inputs))
        count += 1
    queue.wait_all()
    return count / (time.perf_counter() - started_s)


def latencies_ms(
    queue: ov.AsyncInferQueue, inputs: Sequence[Inputs], seconds: float, rate: float, seed: int
) -> list[float]:
    """Return the latencies of images that arrive at random moments, from the planned arrival."""
    found: list[float] = []
    queue.set_callback(lambda request, planned_s: found.append((time.perf_counter() - planned_s) * 1e3))
    started_s, turns = time.perf_counter(), cycle(inputs)
    for moment_s in arrivals(rate, seed):
        if moment_s >= seconds:
            break
        time.sleep(max(0.0, started_s + moment_s - time.perf_counter()))
        queue.start_async(next(turns), started_s + moment_s)
    queue.wait_all()
    return found


def main() -> int:
    """Answer the lines of standard input."""
    detector = Detector(Path(sys.argv[1]))
    inputs = [detector.inputs(Path(image).read_bytes())[0] for image in sys.argv[2:]]
    whole = [{name: np.ascontiguousarray(array) for name, array in each.items()} for each in inputs]
    queue: ov.AsyncInferQueue | None = None
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        answer: dict[str, Any]
        if queue is None:
            name, queue = best_queue(detector, whole, order.get("choose", 1.0))
            answer = {"settings": name}
        elif "rate" in order:
            answer = {"latencies_ms": latencies_ms(queue, whole, **order)}
        elif "decode" in order:
            files = [Path(image).read_bytes() for image in order["decode"]]
            decoded = (detector.inputs(file)[0] for file in cycle(files))
            answer = {"images_s": images_s(queue, decoded, order["seconds"])}
        else:
            answer = {"images_s": images_s(queue, cycle(whole), **order)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
