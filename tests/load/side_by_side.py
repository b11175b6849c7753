"""Measures whether engines on one machine leave each other's cores alone.

    .venv/bin/python -m tests.load.side_by_side
    .venv/bin/python -m tests.load.side_by_side --triton

Two services with one worker and one engine thread each run beside each other, and one caller POSTs an image
to each service again and again. With --triton, one Triton server runs two instances of a model with one
thread each, and perf_analyzer keeps one or both instances busy. In each round, first one engine works alone,
then both work together, then the other engine works alone. The rounds with free threads and with pinned
threads alternate, so other work on the machine affects both. It needs Linux's /proc and two cores.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.load.costs import ONE_BY_ONE, ROOT, processor_s, sample_jpeg, wait_until_ready
from tests.load.gateway_throughput import MODEL, gateway_rate, perf_analyzer_rate, tensors_of
from tests.load.machine import describe_machine
from tests.triton_server import start_triton, why_no_triton
from training.export.targets.triton_options import TritonOptions
from training.export.triton.config import write_all_configs

ENGINES = 2
FEWEST_CORES = 2
PINNED = {False: "free threads", True: "pinned threads"}

Rate = Callable[[], float]


@dataclass(frozen=True)
class Engines:
    """Two engines that can work alone or together; each function works for a while and returns images/s."""

    alone: Sequence[Rate]
    together: Rate

    def measure(self) -> "Round":
        """Measure one engine, both, and the other one."""
        cores = sorted(os.sched_getaffinity(0))
        started, busy_s, own_s = time.perf_counter(), _busy_s(cores), _own_s()
        first, together, last = self.alone[0](), self.together(), self.alone[-1]()
        all_s = (time.perf_counter() - started) * len(cores)
        others_s = _busy_s(cores) - busy_s - (_own_s() - own_s)
        return Round((first + last) / 2, together, max(0.0, others_s / all_s))


@dataclass(frozen=True)
class Round:
    """The rates of one round, in images/s, and the share of the cores that other programs took meanwhile."""

    alone: float  # mean of both engines, measured before and after `together`
    together: float
    others: float

    @property
    def gain(self) -> float:
        """Return how many times as much both engines do together as one of them does alone."""
        return self.together / self.alone


def _busy_s(cores: Sequence[int]) -> float:
    """Return the seconds for which these cores have been busy, including time that a hypervisor took."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *columns = line.split()
        if name in {f"cpu{core}" for core in cores}:
            user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, columns[:8])
            ticks += user + nice + system + irq + softirq + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Return the processor time of this process and its descendants, also of those that have ended."""
    ended = os.times()
    return processor_s(os.getpid()) + ended.children_user + ended.children_system


@contextmanager
def two_services(jpeg: bytes, seconds: float, settings: Mapping[str, str] | None = None) -> Iterator[Engines]:
    """Run two services of one worker and one engine thread, and yield them with one caller for each.

    Args:
        jpeg: the image that the callers send.
        seconds: how long one measurement takes.
        settings: environment variables of the services, beside one worker and one thread.
    """
    with ExitStack() as stack:
        ports = [stack.enter_context(_service(settings or {})) for _ in range(ENGINES)]
        pool = stack.enter_context(ThreadPoolExecutor(ENGINES))

        def rate(port: int) -> float:
            return gateway_rate(port, jpeg, 1, seconds)

        for port in ports:
            gateway_rate(port, jpeg, 1, 1.0)  # warm up
        yield Engines([lambda port=port: rate(port) for port in ports], lambda: sum(pool.map(rate, ports)))


@contextmanager
def _service(settings: Mapping[str, str]) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **ONE_BY_ONE, **settings, "HOST": "127.0.0.1", "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def two_instances(jpeg: bytes, seconds: float, options: TritonOptions) -> Iterator[Engines]:
    """Run a Triton server with two instances of the starter, and yield them with one caller for each.

    A call goes to any instance that is idle, so either of them may be the one that works alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        repository, tensors = Path(folder) / "models", Path(folder) / "tensors.json"
        shutil.copytree(ROOT / "model_repository" / MODEL, repository / MODEL)
        write_all_configs(repository, replace(options, instances=ENGINES))
        tensors.write_text(json.dumps(tensors_of(jpeg)))
        with start_triton(repository, load=[MODEL]) as server:

            def rate(callers: int) -> float:
                return perf_analyzer_rate(server, tensors, callers, seconds)

            rate(ENGINES)  # warm up
            yield Engines([lambda: rate(1)], lambda: rate(ENGINES))


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="a JPEG to send; default: a generated image")
    parser.add_argument("--rounds", type=int, default=7, help="of each row (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        help="of each part of a round (default: %(default)s)",
    )
    parser.add_argument(
        "--others",
        type=float,
        default=0.05,
        help="repeat a round in which other programs took a larger share of the cores (default: %(default)s)",
    )
    parser.add_argument(
        "--patience", type=float, default=300, help="seconds until rounds are repeated no more (default: 300)"
    )
    parser.add_argument("--triton", action="store_true", help="measure instances in Triton, not services")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < FEWEST_CORES:
        parser.error("two engines can only share one core here")
    if args.triton and (reason := why_no_triton()):
        parser.error(reason)
    jpeg = args.image.read_bytes() if args.image else sample_jpeg()
    measured: dict[str, list[Round]] = {name: [] for name in PINNED.values()}
    with ExitStack() as stack:
        engines = {}
        for pinned, name in PINNED.items():
            options = TritonOptions(threads=1, pin_threads=pinned)
            settings = {"SPARSIGHT_OPENVINO__PIN_THREADS": str(pinned).lower()}
            engines[name] = stack.enter_context(
                two_instances(jpeg, args.seconds, options)
                if args.triton
                else two_services(jpeg, args.seconds, settings)
            )
        end = time.monotonic() + args.patience
        for number in range(args.rounds):
            for name in list(engines) if number % 2 == 0 else reversed(list(engines)):
                one = engines[name].measure()
                while one.others > args.others and time.monotonic() < end:
                    one = engines[name].measure()
                measured[name].append(one)
    print(describe_machine())
    what = "two Triton instances" if args.triton else "two services of one worker"
    print(f"{what}, one engine thread and one caller each; {args.rounds} rounds of 3 x {args.seconds:g} s\n")
    print("| | one alone, images/s | both together, images/s | together / alone | other work |")
    print("|---|---:|---:|---:|---:|")
    for name, rounds in measured.items():
        alone, together = [each.alone for each in rounds], [each.together for each in rounds]
        cells = [spread(alone, 1), spread(together, 1), spread([each.gain for each in rounds], 2)]
        others = statistics.median(each.others for each in rounds)
        print(f"| {name} | {' | '.join(cells)} | {others:.0%} of the cores |")
    return 0


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median, the lowest and the highest value as text."""
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
