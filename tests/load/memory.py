"""Measures the memory of the service, of this build and of an earlier commit in turns.

    .venv/bin/python -m tests.load.memory --before 5a6618d

Each round starts `python -m service` of each build in its own process, with the model repository of that
build and default settings. The script reads the memory in RAM (RSS) at rest: as soon as the service is ready,
and after some requests. It then lets many callers POST a JPEG at the same moment, a few times, and reads the
highest RSS meanwhile. It prints the medians over the rounds as a Markdown table.

"Of its own" is memory that only this process has: heaps, stacks, and changed pages. The rest of RSS are pages
of files, such as code, which the kernel may drop at any time. The script needs Linux's /proc.
"""

import argparse
import http.client
import io
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Thread

from tests.load.costs import sample_jpeg
from tests.load.machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
READY, AFTER, PEAK, DROP = (
    "at rest, ready",
    "at rest, after requests",
    "peak under load",
    "at rest, after load",
)
# Parts of the memory after requests; a mapping belongs to the first part whose pattern its name contains.
OWN = "of its own"
PARTS = {
    "pages of OpenVINO's files": "/openvino/",
    "pages of OpenCV's files": "cv2|opencv",
    "pages of the model's files": "model_repository",
    "pages of other files": "",
}
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S{4} [0-9a-f]+ \S+ \d+ *(.*)")
_SETTLE_S = 0.5  # the service closes connections and logs after the last answer


@dataclass(frozen=True)
class Memory:
    """The memory of one process in one round, in MB of 2^20 bytes."""

    rss: dict[str, float]  # by moment
    own: dict[str, float]  # what of it only this process has, by moment at rest
    parts: dict[str, float]  # of the memory after requests, by part
    ready_s: float  # seconds until the service was ready


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both builds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", required=True, metavar="COMMIT", help="the earlier build")
    parser.add_argument("--photo", type=Path, help="a JPEG to send; default: a generated one of 640 x 480")
    parser.add_argument("--callers", type=int, default=64, help="requests in flight (default: %(default)s)")
    parser.add_argument("--volleys", type=int, default=5, help="of all callers (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=50, help="before the load (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns (default: %(default)s)")
    args = parser.parse_args(argv)
    photo = args.photo.read_bytes() if args.photo else sample_jpeg()
    before: list[Memory] = []
    now: list[Memory] = []
    with build_of(args.before) as folder:
        for number in range(args.rounds):
            turns = [(before, folder), (now, ROOT)]
            for taken, build in turns if number % 2 == 0 else reversed(turns):
                taken.append(memory_of(build, photo, args.callers, args.volleys, args.requests))
            ready, peak = (f"{before[-1].rss[of]:.0f} | {now[-1].rss[of]:.0f}" for of in (READY, PEAK))
            print(f"round {number + 1}: {ready} MB ready, {peak} MB under load", file=sys.stderr)
    print(f"{describe_machine()}; {args.before} and this build, {args.rounds} rounds of each, in turns;")
    print(f"JPEG of {len(photo) / 1e3:.0f} KB, {args.requests} requests, then {args.callers} in flight\n")
    print_table(before, now)
    return 0


@contextmanager
def build_of(commit: str) -> Iterator[Path]:
    """Unpack the files of a commit into a folder that exists during the block, and yield the folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(scratch, filter="data")
        yield Path(scratch)


def memory_of(build: Path, photo: bytes, callers: int, volleys: int, requests: int) -> Memory:
    """Start the service of a build, read its memory at rest and under load, and stop it."""
    rss: dict[str, float] = {}
    own: dict[str, float] = {}
    with service_of(build) as (pid, port, ready_s):
        for moment, times in ((READY, 0), (AFTER, requests)):
            post_often(port, photo, times)
            rss[moment], own[moment] = at_rest(pid)
        parts = parts_of(Path(f"/proc/{pid}/smaps").read_text())
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest RSS counts from here
        for _ in range(volleys):
            post_at_once(port, photo, callers)
        rss[PEAK] = status_mb(pid, "VmHWM")
        rss[DROP], own[DROP] = at_rest(pid)
    return Memory(rss, own, parts, ready_s)


@contextmanager
def service_of(build: Path) -> Iterator[tuple[int, int, float]]:
    """Run the service of a build, and yield its process id, its port and the seconds until it was ready."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    settings = {"HOST": "127.0.0.1", "PORT": "0", "SPARSIGHT_REPOSITORY": str(build / "model_repository")}
    if "max_queue_s" in (build / "service" / "settings.py").read_text():
        settings["SPARSIGHT_MAX_QUEUE_S"] = "600"  # else, most of many callers would be refused
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=build,  # Python looks here first for the package `service`
        env=environment | settings,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            ready = next((line for line in process.stderr if "ready: open http://" in line), None)
            if ready is None:
                raise RuntimeError(f"the service of {build} did not become ready")
            ready_s = time.perf_counter() - began
            # Without a reader, the log would fill the pipe and block the service.
            Thread(target=process.stderr.read, daemon=True).start()
            yield process.pid, int(ready.rstrip().rstrip("/").rpartition(":")[2]), ready_s
        finally:
            process.terminate()


def post_often(port: int, photo: bytes, times: int) -> None:
    """POST the photo several times over one connection, one request after another."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(times):
        post(connection, photo)
    connection.close()


def post_at_once(port: int, photo: bytes, callers: int) -> None:
    """Let all callers POST the photo at the same moment, and wait for all answers."""
    start = Barrier(callers)

    def call(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        start.wait()
        post(connection, photo)
        connection.close()

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(callers)))


def post(connection: http.client.HTTPConnection, photo: bytes) -> None:
    """POST the photo to /detect; raise RuntimeError if it is refused."""
    connection.request("POST", "/detect", photo, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {body[:300]!r}")


def at_rest(pid: int) -> tuple[float, float]:
    """Return a process's RSS, and what of it only this process has, after it has come to rest."""
    time.sleep(_SETTLE_S)
    return status_mb(pid, "VmRSS"), status_mb(pid, "RssAnon")


def status_mb(pid: int, name: str) -> float:
    """Return a size of /proc/<pid>/status in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, f"no {name} in /proc/{pid}/status"
    return int(found[1]) / 1024


def parts_of(smaps: str) -> dict[str, float]:
    """Return what a process's RSS is made of, in MB; a changed page of a file is the process's own."""
    kb = dict.fromkeys((OWN, *PARTS), 0)
    part, rss_kb = "", 0
    for line in smaps.splitlines():
        if (mapping := _MAPPING.match(line)) is not None:
            part = next(name for name, pattern in PARTS.items() if re.search(pattern, mapping[1]))
        elif line.startswith("Rss:"):
            rss_kb = int(line.split()[1])
        elif line.startswith("Anonymous:"):
            own_kb = int(line.split()[1])
            kb[OWN] += own_kb
            kb[part] += rss_kb - own_kb
    return {name: size / 1024 for name, size in kb.items()}


def print_table(before: list[Memory], now: list[Memory]) -> None:
    """Print the medians over the rounds, and the median of the rounds' ratios."""
    print("| | before, MB | now, MB | ratio |\n|---|---|---|---|")
    for moment in (READY, AFTER, PEAK, DROP):
        print_row(moment, [one.rss[moment] for one in before], [one.rss[moment] for one in now])
        if moment in before[0].own:
            print_row("- of its own", [one.own[moment] for one in before], [one.own[moment] for one in now])
        if moment == AFTER:
            for part in PARTS:
                print_row(f"- {part}", [one.parts[part] for one in before], [one.parts[part] for one in now])
    print_row("seconds until ready", [one.ready_s for one in before], [one.ready_s for one in now])


def print_row(name: str, before: list[float], now: list[float]) -> None:
    """Print one row of the table; there is no ratio to nothing, such as pages of unmapped files."""
    ratio = "–"
    if all(before):
        ratio = f"{statistics.median(b / a for a, b in zip(before, now, strict=True)):.2f}"
    print(f"| {name} | {statistics.median(before):.1f} | {statistics.median(now):.1f} | {ratio} |")


if __name__ == "__main__":
    sys.exit(main())
