"""Run the real service in a process of its own, with the tiny detector and low limits, and look at it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.builders import build_artifact, golden_image, image_bytes

ROOT = Path(__file__).parents[2]
READY_S = 60.0
MAX_BODY_BYTES = 100_000
LIMITS = {
    "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "MAX_PIXELS": str(1 << 18),
    "BODY_TIMEOUT_S": "1",
    "TIMEOUT_S": "60",  # so that a busy machine is no finding
    "MAX_FILES": "3",
    "WORKERS": "1",
    "LOG_FORMAT": "json",
}


class Use(NamedTuple):
    """What a process has at a moment."""

    memory_mb: float
    threads: int
    descriptors: int


@dataclass(frozen=True)
class Served:
    """A running service."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        return self._ask("GET", path, None)

    def golden(self) -> dict[str, Any]:
        """Return the answer for the golden image, without what differs each time."""
        status, body = self._ask("POST", "/detect", image_bytes(golden_image()))
        answer: dict[str, Any] = json.loads(body)
        assert status == http.client.OK, answer
        return {name: value for name, value in answer.items() if name not in ("id", "timing_ms")}

    def use(self) -> Use:
        """Return the memory, threads and open descriptors of the process."""
        folder = Path("/proc") / str(self.process.pid)
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        memory_mb = int(status["VmRSS"].split()[0]) / 1024
        return Use(memory_mb, int(status["Threads"]), len(list((folder / "fd").iterdir())))

    def complaints(self) -> list[str]:
        """Return the lines of the log that tell of a defect."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if "Traceback" in line or '"level": "error"' in line]

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[Served]:
    """Run the service while the block runs; its models and its log are in the folder.

    Raises:
        RuntimeError: it did not become ready; the message has the end of its log.
    """
    repository = folder / "repository"
    if not repository.exists():
        build_artifact(repository)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    environment |= {f"SPARSIGHT_{name}": value for name, value in (LIMITS | settings).items()}
    environment |= {
        "SPARSIGHT_REPOSITORY": str(repository),
        "SPARSIGHT_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "service.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stdout=file, stderr=file
        )
    try:
        running = Served(port, process, log)
        _wait(running)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(running: Served) -> None:
    end_s = time.monotonic() + READY_S
    while running.process.poll() is None and time.monotonic() < end_s:
        with suppress(OSError):
            if running.get("/readyz")[0] == http.client.OK:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the service did not become ready:\n{running.log.read_text()[-2000:]}")
