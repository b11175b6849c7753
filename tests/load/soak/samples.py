"""Read what a process holds: memory, threads, descriptors, files, and the series of its metrics."""

import json
import os
import re
import signal
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.load.soak.asks import KEY
from tests.triton_server import TritonServer

SHARED = Path("/dev/shm")
REST_S = 30.0  # longer than the service keeps what a caller has left behind
SETTLE_S = 0.5
_IN_FLIGHT = re.compile(r"^sparsight_inflight_requests (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Folders:
    """Where a service keeps temporary files, and the file in which it says what it uses."""

    temporary: Path
    used: Path


@dataclass(frozen=True)
class Sample:
    """What a service held at rest, after a number of requests."""

    requests: int
    seconds: float  # since the start of the soak
    used_mb: float  # of its heaps, without what is free in them
    blocks: int  # of Python's objects
    own_mb: float  # memory that only this process has: heaps, stacks, changed pages
    rss_mb: float
    pss_mb: float  # as RSS, but pages that n processes map count 1/n
    peak_mb: float  # the highest RSS since the last sample
    threads: int
    descriptors: int
    shared_files: int  # in /dev/shm, of the service and of Triton
    temporary_files: int
    in_flight: int  # requests beside the one that asks
    series: int
    triton_mb: float  # PSS of Triton's processes; 0 without Triton


def take(
    pid: int, url: str, folders: Folders, requests: int, began_s: float, triton: TritonServer | None
) -> Sample:
    """Wait until the service is at rest, and return what it holds.

    Args:
        pid: of the service.
        url: of the service.
        folders: of the service.
        requests: sent so far.
        began_s: when the soak began, by the monotonic clock.
        triton: the server that it uses.
    """
    shared = [f"sparsight-{pid}-*", *([f"{triton.shm_prefix}*"] if triton else [])]
    end_s = time.monotonic() + REST_S
    while (in_flight := in_flight_of(_metrics(url))) and time.monotonic() < end_s:
        time.sleep(0.1)
    time.sleep(SETTLE_S)
    series = sum(not line.startswith("#") for line in _metrics(url).splitlines())
    time.sleep(0.1)  # until this connection is closed
    used = used_of(pid, folders.used)
    process = Path(f"/proc/{pid}")
    rollup = sizes_mb(process / "smaps_rollup")
    status = sizes_mb(process / "status")
    peak_mb = status["VmHWM"]
    (process / "clear_refs").write_text("5")  # the highest RSS counts from here
    return Sample(
        requests=requests,
        seconds=time.monotonic() - began_s,
        used_mb=used["heap_bytes"] / 2**20,
        blocks=used["python_blocks"],
        own_mb=rollup["Anonymous"],
        rss_mb=rollup["Rss"],
        pss_mb=rollup["Pss"],
        peak_mb=peak_mb,
        threads=entries(process / "task"),
        descriptors=entries(process / "fd"),
        shared_files=sum(entries(SHARED, pattern) for pattern in shared),
        temporary_files=entries(folders.temporary),
        in_flight=in_flight,
        series=series,
        triton_mb=family_mb(triton.process.pid) if triton and triton.process else 0.0,
    )


def _metrics(url: str) -> str:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def used_of(pid: int, file: Path) -> dict[str, int]:
    """Ask the service of a soak what it uses; see service.py."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    end_s = time.monotonic() + REST_S
    while not file.exists():
        if time.monotonic() > end_s:
            raise RuntimeError("the service did not say what it uses")
        time.sleep(0.02)
    used: dict[str, int] = json.loads(file.read_text())
    return used


def entries(folder: Path, pattern: str = "*") -> int:
    """Return how many entries of a folder match a pattern."""
    return sum(1 for _ in folder.glob(pattern))


def in_flight_of(metrics: str) -> int:
    """Return how many requests are in flight, beside the one that asks."""
    found = _IN_FLIGHT.search(metrics)
    assert found is not None, "the metrics have no requests in flight"
    return int(float(found[1])) - 1


def sizes_mb(path: Path) -> dict[str, float]:
    """Return the sizes in a file of /proc, in MB of 2^20 bytes."""
    return {
        name: int(kb) / 1024 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", path.read_text(), re.MULTILINE)
    }


def family_mb(pid: int) -> float:
    """Return the PSS of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = sizes_mb(Path(f"/proc/{pid}/smaps_rollup"))["Pss"]
    return own + sum(family_mb(int(child)) for child in children)
