"""Measures how many threads an engine should have under a CPU quota that is smaller than the machine.

    sudo .venv/bin/python -m tests.load.quota --cores 1

The script puts itself into a control group of its own with this quota, and removes the group at the end. It
runs the starter's golden sample in OpenVINO with 1, 2, … threads, in turns. It needs root, Linux's control
groups in version 1 or 2, and no other quota.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import openvino as ov

from service.artifact.repository import read_artifact
from service.cores import CONTROL_GROUPS, allowed_cores, usable_cores
from tests.load.costs import ROOT
from tests.load.machine import describe_machine
from tests.load.side_by_side import spread

PERIOD_US = 100_000
PAUSE_S = 0.3  # between two measurements, so that one does not pay for the time that another has used


@contextmanager
def control_group(cores: float, name: str = "quota") -> Iterator[Path]:
    """Have a group whose processes together use only so many cores, until the block ends.

    The processes must have left or ended before. Yields the group's folder.
    """
    version_2 = (CONTROL_GROUPS / "cgroup.controllers").exists()
    top = CONTROL_GROUPS if version_2 else CONTROL_GROUPS / "cpu"
    group = top / f"sparsight-{name}-{os.getpid()}"
    group.mkdir()
    quota_us = str(round(cores * PERIOD_US))
    try:
        if version_2:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(quota_us)
        yield group
    finally:
        group.rmdir()


@contextmanager
def quota(cores: float) -> Iterator[None]:
    """Let this process use only so many cores until the block ends."""
    with control_group(cores) as group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (group.parent / "cgroup.procs").write_text(str(os.getpid()))


def measure(threads: Sequence[int], rounds: int, seconds: float) -> dict[int, list[list[float]]]:
    """Return the seconds of every inference, by number of threads and round."""
    artifact = read_artifact(ROOT / "model_repository" / "starter-openvino" / "1")
    with np.load(artifact.folder / "golden.npz") as golden:
        feed = artifact.manifest.feed(golden["input"], {})
    core = ov.Core()
    model = core.read_model(artifact.graph)
    requests = {}
    for count in threads:
        config = {"INFERENCE_NUM_THREADS": count, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        compiled = core.compile_model(model, "CPU", {**config, "INFERENCE_PRECISION_HINT": "f32"})
        requests[count] = compiled.create_infer_request()
        requests[count].infer(feed)  # warm up
    taken: dict[int, list[list[float]]] = {count: [] for count in threads}
    for number in range(rounds):
        for count in threads if number % 2 == 0 else reversed(threads):
            time.sleep(PAUSE_S)
            end = time.perf_counter() + seconds
            taken[count].append([])
            while (started := time.perf_counter()) < end:
                requests[count].infer(feed)
                taken[count][-1].append(time.perf_counter() - started)
    return taken


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=float, required=True, help="the quota, as of docker run --cpus")
    parser.add_argument("--rounds", type=int, default=6, help="of each row (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round (default: %(default)s)")
    args = parser.parse_args()
    most = min(allowed_cores(), math.ceil(args.cores) + 1)
    with quota(args.cores):
        counted = usable_cores()
        graph = ROOT / "model_repository" / "starter-openvino" / "1" / "model.xml"
        alone = ov.Core().compile_model(graph, "CPU").get_property("INFERENCE_NUM_THREADS")
        taken = measure(range(1, most + 1), args.rounds, args.seconds)
    print(describe_machine())
    print(f"quota of {args.cores:g} cores: the service counts {counted}, OpenVINO by itself {alone}\n")
    print("| threads | images/s | median ms | ms of the slowest 5% |\n|---:|---:|---:|---:|")
    for count, rounds in taken.items():
        rates = [len(each) / sum(each) for each in rounds]
        every = sorted(second * 1e3 for each in rounds for second in each)
        slow = every[int(len(every) * 0.95)]
        print(f"| {count} | {spread(rates, 1)} | {statistics.median(every):.1f} | {slow:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
