"""Measures trained models of every task from training to the answer: `python -m tests.load.tasks`.

    SPARSIGHT_REPOSITORY=models .venv/bin/python -m tests.load.tasks runs/nuclei-seg runs/nuclei-obb

Each argument is the folder of a finished run. The model of the same name must be in the repository. The
script starts the service with the settings of its environment (SPARSIGHT_…), and with one engine thread. It
sends the validation images of the runs, model by model in turns, and prints one table: the score of the last
epoch on the validation images, the operations that the answers report, the routing, the time of a request and
the shares of its stages. With --drawn, it also writes one image of each model, drawn from the service's own
answer.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from clients import ClientError, RestClient
from clients.drawing import draw
from tests.load.costs import ONE_BY_ONE, ROOT, processor, wait_until_ready
from training.config import TrainConfig
from training.config_json import train_from_json
from training.data.images.image_decoding import decode_image
from training.data.open import open_dataset
from training.tasks.choose import task_named
from training.workflows.dataset_config import data_name

STAGES = ("decode", "queue", "preprocess", "infer", "postprocess")
CALLS = {
    "segment": "segment",
    "pose": "pose",
    "obb": "detect_oriented",
    "detect": "detect",
    "classify": "classify",
}
GOALS = {
    ("nuclei val", "mask mAP50"): 0.75,
    ("nuclei val", "rotated mAP50"): 0.75,
    ("mouse_pose val", "OKS mAP50"): 0.8,
}


@dataclass
class Measured:
    """One model: its run, and the times and operations of its requests."""

    run: Path
    config: TrainConfig
    scores: Mapping[str, float]  # of the last epoch
    minutes: float  # of the training steps
    images: list[bytes]
    taken_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    used_gflops: list[float] = field(default_factory=list)
    dense_gflops: float = 0.0


def main() -> int:
    """Measure the models of some runs, print a table, and write drawn images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a run; its name is the model's"
    )
    parser.add_argument("--images", type=int, default=20, help="sent of each data set (default: %(default)s)")
    parser.add_argument("--drawn", type=Path, help="folder for one drawn image of each model")
    args = parser.parse_args()
    models = [read_run(run, args.images) for run in args.runs]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**ONE_BY_ONE, **os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    environment.setdefault("SPARSIGHT_DEFAULT_MODEL", args.runs[0].name)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        measure(f"http://127.0.0.1:{port}", models, args.images, args.drawn)
    except ClientError as refused:
        raise SystemExit(
            f"the service refused: {refused}; are the models in SPARSIGHT_REPOSITORY?"
        ) from refused
    finally:
        process.terminate()
        process.wait(timeout=60)
    print(
        f"{processor()}, Python {platform.python_version()}; one engine thread, one request at a time; ",
        end="",
    )
    print(f"median of {args.images} validation images; one seed\n")
    print_table(models)
    return 0


def read_run(run: Path, images: int) -> Measured:
    """Return what a run's folder states, with the first validation images."""
    if not (run / "config.json").exists() or not (run / "model.safetensors").exists():
        raise SystemExit(f"{run} is not the folder of a finished run: give the --run of a training")
    config = train_from_json((run / "config.json").read_text())
    if config.val_data is None:
        raise SystemExit(f"{run} was trained without validation images")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    scores = next(line for line in reversed(lines) if line["kind"] == "evaluate")
    taken_s, last = 0.0, 0
    for line in steps:
        taken_s += (line["step"] - last) * config.batch_size / line["images_per_s"]
        last = line["step"]
    dataset = open_dataset(config.val_data)
    encoded = [dataset.encoded(index) for index in range(min(images, len(dataset)))]
    return Measured(run, config, scores, taken_s / 60, encoded)


def measure(url: str, models: list[Measured], images: int, drawn: Path | None) -> None:
    """Send the images of all models in turns, and keep the figures of the answers."""
    for number in range(-3, images):  # the first ones warm up
        for model in models:
            encoded = model.images[number % len(model.images)]
            with RestClient(url, model=model.run.name, timeout_s=60) as client:
                call = getattr(client, CALLS[model.config.model.task])
                call(encoded)  # opens the connection
                started = time.perf_counter()
                answer = call(encoded)
                taken_ms = (time.perf_counter() - started) * 1e3
            if number < 0:
                continue
            model.taken_ms.append(taken_ms)
            for stage in STAGES:
                model.stages_ms.setdefault(stage, []).append(answer.service.timing_ms[stage])
            model.used_gflops.append(answer.service.used_gflops)
            model.dense_gflops = answer.service.dense_gflops
            if number == 0 and drawn is not None and model.config.model.task != "classify":
                write_drawn(drawn / f"{model.run.name}.png", encoded, answer)


def write_drawn(path: Path, encoded: bytes, answer: Any) -> None:
    """Write an image with the objects of the service's answer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(draw(decode_image(encoded).pixels, answer), cv2.COLOR_RGB2BGR))


def print_table(models: list[Measured]) -> None:
    """Print one row for each model."""
    heading = [
        "model",
        "data",
        "training",
        "score (goal)",
        "GFLOPs used / dense",
        "routing bits by layer",
        "request",
    ]
    print("| " + " | ".join([*heading, *STAGES]) + " |")
    print("|---|---|---|---|---|---|" + "---:|" * (1 + len(STAGES)))
    for model in models:
        best_by = task_named(model.config.model.task).best_by.removesuffix("-95")
        assert model.config.val_data is not None
        data = data_name(model.config.val_data)
        goal = GOALS.get((data, best_by))
        bits = [value for name, value in model.scores.items() if name.startswith("bits ")]
        whole = statistics.median(model.taken_ms)
        low, _, high = statistics.quantiles(model.taken_ms, n=4)
        cells = [
            model.run.name,
            data,
            f"{model.config.epochs} epochs, {model.minutes:.0f} min",
            f"{best_by} {model.scores[best_by]:.3f}" + ("" if goal is None else f" ({goal:g})"),
            f"{statistics.mean(model.used_gflops):.2f} / {model.dense_gflops:.2f}",
            " ".join(f"{value:.2f}" for value in bits) or "no experts",
            f"{whole:.1f} ms ({low:.1f} to {high:.1f})",
            *(f"{statistics.median(model.stages_ms[stage]) / whole:.1%}" for stage in STAGES),
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
