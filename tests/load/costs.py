"""Measures the processor time per image, and calculates cores and GPUs: `python -m tests.load.costs`.

The script starts the service with the settings of its environment (SPARSIGHT_…). By default, the service runs
the starter itself, with one engine thread. The script sends one image repeatedly. It reads the processor time
of the service and the service's metrics. deploy/scaling.md explains the formulas. It needs Linux's /proc.
"""

import argparse
import math
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.triton_server import start_triton, why_no_triton

ROOT = Path(__file__).resolve().parents[2]
# With one image at a time and one engine thread, the time of a stage is its processor time.
ONE_BY_ONE = {
    "SPARSIGHT_WORKERS": "1",
    "SPARSIGHT_OPENVINO__THREADS": "1",
    "SPARSIGHT_OPENVINO__STREAMS": "1",
}
STAGE = re.compile(r'sparsight_stage_duration_seconds_(sum|count)\{backend="(\w+)",stage="(\w+)"\} (\S+)')
GATEWAY_CPU = "processor time of the gateway's process"
TRITON_CPU = "processor time of Triton's processes"
REQUEST = "request, as the caller sees it"


@dataclass(frozen=True)
class Costs:
    """Milliseconds per image, by stage or process, with one value for each round."""

    rounds: dict[str, list[float]]
    series: int  # number of Prometheus series of one gateway
    backend: str  # the backend that answered

    def median_ms(self, name: str) -> float:
        """Return the median over the rounds; 0 if a stage did not run."""
        return statistics.median(self.rounds.get(name, [0.0]))


def sample_jpeg() -> bytes:
    """Return a JPEG of 640 x 480 and about 120 KB, with as much detail as a photograph."""
    noise = np.random.default_rng(0).normal(128, 110, (480, 640, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.1) + 3 * (cv2.GaussianBlur(noise, (0, 0), 24) - 128)
    encoded = cv2.imencode(".jpg", smooth.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return bytes(encoded)


@contextmanager
def triton_of_the_tests() -> Iterator[int]:
    """Run the tritonserver that `make test` installs, make the service use it, and yield its process id."""
    if reason := why_no_triton():
        raise SystemExit(reason)
    model = f"{os.environ.get('SPARSIGHT_DEFAULT_MODEL', 'starter')}-openvino"
    with start_triton(ROOT / "model_repository", load=[model]) as server:
        os.environ |= {"SPARSIGHT_BACKENDS": "triton", "SPARSIGHT_TRITON__URL": server.grpc_url}
        assert server.process is not None
        yield server.process.pid


def measure(jpeg: bytes, images: int, rounds: int, triton_pid: int | None) -> Costs:
    """Return the costs: start the service, warm it up, and send the image `images` times in each round."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**ONE_BY_ONE, **os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    command = [sys.executable, "-m", "service"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    pids = {GATEWAY_CPU: process.pid} | ({TRITON_CPU: triton_pid} if triton_pid else {})
    try:
        wait_until_ready(url, process)
        send(url, jpeg, max(20, images // 4))
        return read_rounds(url, pids, jpeg, images, rounds)
    finally:
        process.terminate()
        process.wait(timeout=60)


def read_rounds(url: str, pids: dict[str, int], jpeg: bytes, images: int, rounds: int) -> Costs:
    """Return the costs of each round, from clocks and counters before and after the round."""
    taken: dict[str, list[float]] = {}
    backends = set()
    for _ in range(rounds):
        stages, started = stage_sums(url), time.perf_counter()
        cpu_s = {name: processor_s(pid) for name, pid in pids.items()}
        send(url, jpeg, images)
        taken.setdefault(REQUEST, []).append((time.perf_counter() - started) / images * 1e3)
        for name, pid in pids.items():
            taken.setdefault(name, []).append((processor_s(pid) - cpu_s[name]) / images * 1e3)
        for (backend, stage), (total_s, count) in stage_sums(url).items():
            before_s, before = stages.get((backend, stage), (0.0, 0.0))
            if count > before:
                backends.add(backend)
                taken.setdefault(stage, []).append((total_s - before_s) / (count - before) * 1e3)
    lines = get(f"{url}/metrics").splitlines()
    return Costs(taken, sum(not line.startswith("#") for line in lines), "+".join(sorted(backends)))


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until /readyz answers 200; raise SystemExit if the service ends."""
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit("the service ended; start it by hand to see why: python -m service")
        try:
            get(f"{url}/readyz")
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit("the service did not become ready within two minutes")


def get(url: str, data: bytes | None = None) -> str:
    """Return the body of the answer to a GET, or to a POST if there is data."""
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
        return str(answer.read().decode())


def send(url: str, jpeg: bytes, times: int) -> None:
    """Send the JPEG to /detect several times, one request after another."""
    for _ in range(times):
        try:
            get(f"{url}/detect", jpeg)
        except urllib.error.HTTPError as refused:
            raise SystemExit(f"the service refused: {refused.read().decode()}") from refused


def stage_sums(url: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the total seconds and the number of images, by backend and stage."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for part, backend, stage, value in STAGE.findall(get(f"{url}/metrics")):
        found.setdefault((backend, stage), {})[part] = float(value)
    return {key: (parts["sum"], parts["count"]) for key, parts in found.items()}


def processor_s(pid: int) -> float:
    """Return the processor time of a process and its living descendants, over all threads."""
    return sum(ticks_of_family(pid).values()) / os.sysconf("SC_CLK_TCK")


def ticks_of_family(pid: int) -> dict[int, int]:
    """Return the clock ticks that a process and each of its living descendants have used."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        parents[int(path.parent.name)] = int(fields[1])
        ticks[int(path.parent.name)] = int(fields[11]) + int(fields[12])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return {member: ticks[member] for member in family if member in ticks}


def split(costs: Costs) -> tuple[float, float]:
    """Return the processor time per image, in ms, of the gateway and of inference."""
    gateway_ms = costs.median_ms(GATEWAY_CPU)
    if TRITON_CPU in costs.rounds:
        return gateway_ms, costs.median_ms(TRITON_CPU)
    if costs.backend != "openvino":
        return gateway_ms, costs.median_ms("infer")
    # Both run in one process, so its processor time is divided like the time of a request.
    share = costs.median_ms("infer") / costs.median_ms(REQUEST)
    return gateway_ms * (1 - share), gateway_ms * share


def print_costs(costs: Costs, jpeg: bytes, images: int) -> None:
    """Print the table of costs, the machine and the image."""
    print(
        f"backend {costs.backend}; JPEG of {len(jpeg) / 1e3:.0f} KB; {processor()}; {os.cpu_count()} cores;"
    )
    print(f"Python {platform.python_version()}; median of {len(costs.rounds[REQUEST])} rounds of {images}\n")
    print("| | ms an image | lowest and highest round |\n|---|---|---|")
    for name, values in costs.rounds.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")
    print(f"\nOne gateway exports {costs.series} series.")


def processor() -> str:
    """Return the processor's name."""
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


def print_plan(gateway_ms: float, infer_ms: float, args: argparse.Namespace) -> None:
    """Print the cores, GPUs and bandwidths that each rate needs."""
    height, width = args.canvas
    hop_bytes = height * width * 3
    print(
        f"gateway {gateway_ms:.2f} ms and inference {infer_ms:.2f} ms of a core an image; cores and GPUs are"
    )
    print(f"busy {args.utilisation:.0%} of the time; {args.gateway_cores} cores a gateway; ", end="")
    print(f"{args.gpu_rate:g} images/s a GPU is an assumption;")
    print(f"canvas {height} x {width} = {hop_bytes / 1e6:.2f} MB; JPEG {args.jpeg_kb:g} KB\n")
    heads = [
        "images/s",
        "gateway cores",
        "gateways",
        "cores for inference",
        "or GPUs",
        "JPEG in",
        "to Triton",
    ]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for rate in args.rates:
        gateway_cores = rate * gateway_ms / 1e3 / args.utilisation
        cells = [
            f"{rate:,}",
            f"{gateway_cores:,.1f}",
            f"{max(2, math.ceil(gateway_cores / args.gateway_cores)):,}",
            f"{rate * infer_ms / 1e3 / args.utilisation:,.1f}",
            f"{math.ceil(rate / args.gpu_rate / args.utilisation):,}",
            bits(rate * args.jpeg_kb * 1e3),
            bits(rate * hop_bytes),
        ]
        print("| " + " | ".join(cells) + " |")


def bits(bytes_s: float) -> str:
    """Return a bandwidth as text, in Mbit/s or Gbit/s."""
    return f"{bytes_s * 8 / 1e9:,.2f} Gbit/s" if bytes_s * 8 >= 1e8 else f"{bytes_s * 8 / 1e6:,.0f} Mbit/s"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--image", type=Path, help="a JPEG to send; default: a generated image")
    add("--images", type=int, default=100, help="images in each round (default: %(default)s)")
    add("--rounds", type=int, default=5, help="number of rounds (default: %(default)s)")
    add("--triton-pid", type=int, help="process id of a tritonserver whose processor time counts too")
    add("--test-triton", action="store_true", help="let the service use the tests' tritonserver")
    add("--gateway-ms", type=float, help="processor time per image; with --infer-ms, nothing is measured")
    add("--infer-ms", type=float, help="processor time of inference per image")
    add("--gpu-rate", type=float, default=1000, help="images/s of one GPU (assumed: %(default)s)")
    add("--rates", type=int, nargs="+", default=[10, 1_000, 100_000], metavar="N", help="planned images/s")
    add("--utilisation", type=float, default=0.6, help="highest utilisation, 0 to 1 (default: %(default)s)")
    add("--gateway-cores", type=int, default=4, help="cores of one gateway (default: %(default)s)")
    add("--jpeg-kb", type=float, default=125, help="size of an image as sent (default: %(default)s)")
    add("--canvas", type=int, nargs=2, default=[640, 640], metavar=("H", "W"), help="model input")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the costs that the flags do not give, and print the tables."""
    args = parser().parse_args(argv)
    gateway_ms, infer_ms = args.gateway_ms, args.infer_ms
    if gateway_ms is None or infer_ms is None:
        jpeg = args.image.read_bytes() if args.image else sample_jpeg()
        with triton_of_the_tests() if args.test_triton else nullcontext(args.triton_pid) as triton_pid:
            costs = measure(jpeg, args.images, args.rounds, triton_pid)
        print_costs(costs, jpeg, args.images)
        print()
        measured = split(costs)
        gateway_ms = measured[0] if gateway_ms is None else gateway_ms
        infer_ms = measured[1] if infer_ms is None else infer_ms
    print_plan(gateway_ms, infer_ms, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
