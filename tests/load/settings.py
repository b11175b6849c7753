"""Compares settings of a model's controls by throughput: `python -m tests.load.settings`.

    python -m tests.load.settings --images bccd/JPEGImages --images aquarium/valid/images --setting top_k=2 \\
        --setting 'top_k=2&weight_threshold=0.3' --setting ''

The script starts the service with the settings of its environment (SPARSIGHT_…), and with one engine thread.
In each round it sends every image to POST /detect with each setting, one request after another. The order of
the settings changes from round to round. The script prints images per second of each setting, and the ratio
to the first setting: its median over the rounds, and its lowest and highest value. An empty setting stands
for the model's defaults.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import HTTPError

from tests.load.costs import ONE_BY_ONE, ROOT, get, processor, sample_jpeg, wait_until_ready
from training.rounds import order

Rates = dict[str, list[float]]  # images per second in each round, by setting


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about = "folder of JPEG files; may be repeated; default: one generated image"
    parser.add_argument("--images", type=Path, action="append", default=[], help=about)
    parser.add_argument("--each", type=int, default=10, help="images of each folder (default: %(default)s)")
    about = "query of a request, such as top_k=2; the first is the one to compare with"
    parser.add_argument("--setting", action="append", required=True, help=about)
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    args = parser.parse_args()
    jpegs = [jpeg for folder in args.images for jpeg in spread(folder, args.each)] or [sample_jpeg()]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**ONE_BY_ONE, **os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        rates, gflops = measure(url, jpegs, args.setting, args.rounds)
    finally:
        process.terminate()
        process.wait(timeout=60)
    print(f"{processor()}; {len(jpegs)} images, {args.rounds} rounds\n")
    print("\n".join(table(rates, gflops)))


def spread(folder: Path, count: int) -> list[bytes]:
    """Return at most `count` JPEG files of a folder, evenly spread over their names."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"{folder} holds no JPEG file")
    return [path.read_bytes() for path in paths[:: -(-len(paths) // count)]]


def measure(
    url: str, jpegs: Sequence[bytes], settings: Sequence[str], rounds: int
) -> tuple[Rates, Mapping[str, float]]:
    """Return the images per second of each setting in each round, and its mean GFLOPs for an image."""
    rates: Rates = {setting: [] for setting in settings}
    gflops = {}
    for number in range(-1, rounds):  # the first round warms up
        for setting in order(settings, number + 1):
            spent, started = 0.0, time.perf_counter()
            for jpeg in jpegs:
                spent += _ask(f"{url}/detect?{setting}", jpeg)
            if number >= 0:
                rates[setting].append(len(jpegs) / (time.perf_counter() - started))
            gflops[setting] = spent / len(jpegs)
    return rates, gflops


def _ask(url: str, jpeg: bytes) -> float:
    """Return the GFLOPs that an answer reports."""
    try:
        return float(json.loads(get(url, jpeg))["moe"]["gflops"]["used"])
    except HTTPError as refused:
        raise SystemExit(f"the service refused: {refused.read().decode()}") from refused


def table(rates: Rates, gflops: Mapping[str, float]) -> list[str]:
    """Return the lines of a table with one row for each setting."""
    first = next(iter(rates.values()))
    lines = ["| setting | images/s | GFLOPs | ratio | lowest | highest |", "|---|---:|---:|---:|---:|---:|"]
    for setting, each in rates.items():
        ratios = [one / other for one, other in zip(each, first, strict=True)]
        lines.append(
            f"| {f'`{setting}`' if setting else 'defaults'} | {statistics.median(each):.1f} "
            f"| {gflops[setting]:.2f} | {statistics.median(ratios):.3f} "
            f"| {min(ratios):.3f} | {max(ratios):.3f} |"
        )
    return lines


if __name__ == "__main__":
    main()
