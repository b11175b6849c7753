"""Measures what the service spends on a request around the graph: `python -m tests.load.overhead`.

    .venv/bin/python -m tests.load.overhead --before HEAD~3

The model is the tests' tiny detector and the image a JPEG of 64 x 64 pixels, so nearly all of the time is the
service's own. In turns, the script measures the service, the service of an older commit, and an endpoint that
reads the body and gives everyone the same answer (floor.py). The graph also runs alone, in the process of the
script, for the reader to subtract. It needs Linux's /proc.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
import openvino as ov

from service.artifact.repository import read_artifact
from tests.builders import build_artifact, golden_image, image_bytes
from tests.load.callers import measure
from tests.load.gateway import print_table
from tests.load.machine import describe_machine
from tests.load.naive import ENGINE
from tests.load.services import Service, build_of, free_port, running, this_build
from tests.load.side_by_side import spread

FLOOR, GRAPH = "bare FastAPI", "graph alone"
TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """What a process has spent since its start, over all threads that live."""

    user_s: float
    system_s: float
    switches: int  # context switches

    @classmethod
    def by(cls, pid: int) -> Self:
        """Return what a process has spent so far."""
        process = Path(f"/proc/{pid}")
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        switches = 0
        for status in process.glob("task/*/status"):
            lines = (line for line in status.read_text().splitlines() if "ctxt_switches" in line)
            switches += sum(int(line.partition(":")[2]) for line in lines)
        return cls(int(fields[11]) / TICKS_S, int(fields[12]) / TICKS_S, switches)


@dataclass(frozen=True)
class Cost:
    """What a request cost on average over a round."""

    rate: float  # requests/s
    user_ms: float
    system_ms: float
    switches: float

    @property
    def cpu_ms(self) -> float:
        """Return the milliseconds of one core."""
        return self.user_ms + self.system_ms


class Graph:
    """The tiny graph in this process, without anything around it."""

    def __init__(self, folder: Path) -> None:
        """Compile the graph of the artifact in a folder, and run it once."""
        artifact = read_artifact(folder)
        with np.load(folder / "golden.npz") as golden:
            self._feed = artifact.manifest.feed(golden["input"], {})
        self._request = ov.Core().compile_model(artifact.graph, "CPU", ENGINE).create_infer_request()
        self._request.infer(self._feed)

    def cpu_ms(self, seconds: float) -> float:
        """Return the processor time of one run, the mean over some seconds."""
        count, end, began = 0, time.perf_counter() + seconds, time.process_time()
        while time.perf_counter() < end:
            self._request.infer(self._feed, share_inputs=True)
            count += 1
        return (time.process_time() - began) / count * 1e3


Costs = dict[tuple[int, str], list[Cost]]  # of each round, by number of callers and service


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.rounds, args.seconds = 2, 0.5
    with tempfile.TemporaryDirectory() as scratch:
        built = build_artifact(Path(scratch) / "repository")
        image = Path(scratch) / "image.jpg"
        image.write_bytes(image_bytes(golden_image(), "JPEG"))
        services = list(services_for(args, built.folder, str(image), Path(scratch) / "before"))
        with running(services):
            costs, graph_ms = measure_costs(args, services, str(image), Graph(built.folder))
        size = image.stat().st_size
    print(
        describe_machine(
            ("openvino", "fastapi", "starlette", "uvicorn", "uvloop"),
            also=f"httptools {version('httptools')}",
        )
    )
    print(f"{args.rounds} rounds of {args.seconds:g} s, in turns; JPEG of 64 x 64 pixels, {size} bytes\n")
    print_table("processor time of one request", rows(costs, graph_ms))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--before", metavar="COMMIT", help="also measure the service of this commit")
    add("--set", nargs="*", default=[], metavar="SPARSIGHT_NAME=VALUE", help="settings of this build")
    add("--callers", type=int, nargs="+", default=[1, 4], help="at the same time (default: 1 and 4)")
    add("--rounds", type=int, default=5, help="of each, in turns (default: %(default)s)")
    add("--seconds", type=float, default=2.0, help="of each round (default: %(default)s)")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def services_for(args: argparse.Namespace, artifact: Path, image: str, before: Path) -> Iterator[Service]:
    """Yield the services to measure: this build with the tiny model, perhaps an older one, and the floor."""
    ours = [this_build(image, dict(setting.split("=", 1) for setting in args.set), artifact)]
    if args.before:
        before.mkdir()
        ours.append(build_of(args.before, before, image, artifact))
    for service in ours:
        patience = {"SPARSIGHT_MAX_QUEUE_S": "600"}  # so that no caller is refused
        yield replace(service, environment={**service.environment, **patience})
    port = free_port()
    # As in service/__main__.py: no log of requests, and no header that names the server.
    flags = ["--no-access-log", "--no-server-header", "--lifespan", "on", "--port", str(port)]
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.load.floor:create_app", *flags]
    yield Service(FLOOR, command, port, os.environ, image)


def measure_costs(
    args: argparse.Namespace, services: Sequence[Service], image: str, graph: Graph
) -> tuple[Costs, list[float]]:
    """Return the costs of every round, and the milliseconds of the graph; each round has another order."""
    costs: Costs = {}
    graph_ms = []
    for number in range(args.rounds):
        graph_ms.append(graph.cpu_ms(args.seconds / 2))
        print(f"round {number + 1}, {GRAPH}: {graph_ms[-1]:.3f} ms", file=sys.stderr)
        for callers in args.callers:
            first = number % len(services)
            for service in (*services[first:], *services[:first]):
                cost = cost_of(service, image, callers, args.seconds)
                costs.setdefault((callers, service.name), []).append(cost)
                print(
                    f"round {number + 1}, {callers} callers, {service.name}: {cost.cpu_ms:.3f} ms",
                    file=sys.stderr,
                )
    return costs, graph_ms


def cost_of(service: Service, image: str, callers: int, seconds: float) -> Cost:
    """Return what a request costs a service on average, with so many callers in a closed loop.

    Raises:
        RuntimeError: the service did not answer all requests with 200.
    """
    assert service.process is not None
    before = Spent.by(service.process.pid)
    report = measure(service.load((image,), callers=callers, seconds=seconds, before_s=0.0, deadline_s=0.0))
    after = Spent.by(service.process.pid)
    if set(report.statuses) != {200}:
        raise RuntimeError(f"{service.name} did not answer all: {report.statuses}")
    return Cost(
        rate=report.rate,
        user_ms=(after.user_s - before.user_s) / report.sent * 1e3,
        system_ms=(after.system_s - before.system_s) / report.sent * 1e3,
        switches=(after.switches - before.switches) / report.sent,
    )


def rows(costs: Costs, graph_ms: Sequence[float]) -> Iterator[dict[str, str]]:
    """Yield the rows of the table: medians over the rounds, and the range of the processor time."""
    for (callers, name), rounds in costs.items():
        cpu_ms = [cost.cpu_ms for cost in rounds]
        middle = statistics.median(cpu_ms)
        yield {
            "service": name,
            "callers": str(callers),
            "requests/s": f"{statistics.median(cost.rate for cost in rounds):.0f}",
            "CPU, ms": spread(cpu_ms, 3),
            "user, ms": f"{statistics.median(cost.user_ms for cost in rounds):.3f}",
            "system, ms": f"{statistics.median(cost.system_ms for cost in rounds):.3f}",
            "requests/s a core": f"{1e3 / middle:.0f}",
            "context switches": f"{statistics.median(cost.switches for cost in rounds):.1f}",
        }
    yield {"service": GRAPH, "CPU, ms": spread(graph_ms, 3)}


if __name__ == "__main__":
    sys.exit(main())
