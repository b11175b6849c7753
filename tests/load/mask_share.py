"""Measures which share of a segmentation request the masks need: `python -m tests.load.mask_share`.

    SPARSIGHT_REPOSITORY=models SPARSIGHT_DEFAULT_MODEL=mine .venv/bin/python -m tests.load.mask_share

The script starts the service with the settings of its environment (SPARSIGHT_…), and with one engine thread.
It sends one image of 640 x 480 with masks=off, masks=rle and masks=polygon in turns, and asks for the same
number of objects each time. The time of the masks is that of post-processing less that with masks=off. The
script prints the median of each stage and its share of the request. The goal for RLE masks is at most 10 %.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

from tests.load.costs import ONE_BY_ONE, ROOT, get, processor, sample_jpeg, wait_until_ready

FORMS = ("off", "rle", "polygon")
STAGES = ("decode", "queue", "preprocess", "infer", "postprocess")
REQUEST = "request, as the caller sees it"
GOAL = 0.1

Times = dict[str, list[float]]  # ms of each request, by stage


def main() -> int:
    """Measure the stages and print them; return 1 if the masks need more than the goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="a JPEG to send; default: a generated image")
    parser.add_argument("--objects", type=int, default=20, help="in the image (default: %(default)s)")
    parser.add_argument(
        "--conf", type=float, default=0.25, help="low enough to find so many objects (default: %(default)s)"
    )
    parser.add_argument("--requests", type=int, default=60, help="with each form (default: %(default)s)")
    args = parser.parse_args()
    jpeg = args.image.read_bytes() if args.image else sample_jpeg()
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
        times = measure(url, jpeg, args.objects, args.conf, args.requests)
    finally:
        process.terminate()
        process.wait(timeout=60)
    print(f"{processor()}; JPEG of {len(jpeg) / 1e3:.0f} KB; {args.objects} objects; ", end="")
    print(f"median of {args.requests} requests with each form\n")
    print_table(times)
    return 0 if share_of_masks(times, "rle") <= GOAL else 1


def measure(url: str, jpeg: bytes, objects: int, conf: float, requests: int) -> dict[str, Times]:
    """Return the times of each form of masks: send the image with one form after another, in turns."""
    times: dict[str, Times] = {form: {} for form in FORMS}
    for number in range(-5, requests):  # the first ones warm up
        for form in FORMS:
            query = urlencode({"masks": form, "conf": conf, "max_det": objects, "iou": 1})
            started = time.perf_counter()
            try:
                answer = json.loads(get(f"{url}/detect?{query}", jpeg))
            except HTTPError as refused:
                raise SystemExit(f"the service refused: {refused.read().decode()}") from refused
            taken_ms = (time.perf_counter() - started) * 1e3
            if (found := len(answer["predictions"])) != objects:
                raise SystemExit(f"the model finds {found} objects, not {objects}; lower --conf")
            if number >= 0:
                for stage in STAGES:
                    times[form].setdefault(stage, []).append(answer["timing_ms"][stage])
                times[form].setdefault(REQUEST, []).append(taken_ms)
    return times


def masks_ms(times: dict[str, Times], form: str) -> float:
    """Return the milliseconds of the masks of one request."""
    with_masks, without = (statistics.median(times[one]["postprocess"]) for one in (form, "off"))
    return with_masks - without


def share_of_masks(times: dict[str, Times], form: str) -> float:
    """Return the share of a request that its masks need, 0 to 1."""
    return masks_ms(times, form) / statistics.median(times[form][REQUEST])


def print_table(times: dict[str, Times]) -> None:
    """Print the milliseconds of each stage and their share of the request, for each form of masks."""
    print("| stage | " + " | ".join(f"masks={form} | share" for form in FORMS) + " |")
    print("|---|" + "---:|" * 2 * len(FORMS))
    whole = {form: statistics.median(times[form][REQUEST]) for form in FORMS}
    for stage in (*STAGES, REQUEST):
        print_row(stage, {form: statistics.median(times[form][stage]) for form in FORMS}, whole)
    print_row("masks, a part of postprocess", {form: masks_ms(times, form) for form in FORMS}, whole)


def print_row(name: str, cells_ms: dict[str, float], whole_ms: dict[str, float]) -> None:
    """Print one row of the table."""
    cells = (f"{ms:.2f} ms | {ms / whole_ms[form]:.1%}" for form, ms in cells_ms.items())
    print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
