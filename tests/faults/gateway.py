"""A gateway in a process of its own, with the limits, folders and signals that a fault needs."""

import http.client
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.faults.callers import OK, Seen, ask
from tests.load.services import ROOT, free_port

READY_S = 60.0


@dataclass(frozen=True)
class Used:
    """What a process uses of the system."""

    threads: int
    descriptors: int
    memory_mb: float


@dataclass
class Gateway:
    """One gateway. After `kill` or `stop`, it can be started again on the same port."""

    log_path: Path
    settings: Mapping[str, object]
    prefix: Sequence[str] = ()  # a command that runs the gateway, such as prlimit
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    stderr: int | IO[bytes] | None = None  # None: the file log_path

    def start(self, until_ready: bool = True) -> "Gateway":
        """Start the process; return when it is ready.

        Raises:
            RuntimeError: it has ended, or is not ready after a minute.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
        settings = {f"SPARSIGHT_{name}".upper(): str(value) for name, value in self.settings.items()}
        environment = inherited | {"HOST": "127.0.0.1", "PORT": str(self.port)} | settings
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "service"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log if self.stderr is None else self.stderr,
            )
        if until_ready and not wait_until(self.is_ready, READY_S, self.has_ended):
            ended = self.process.poll()
            self.kill()
            raise RuntimeError(f"the gateway did not become ready (exit code {ended}):\n{self.log()[-2000:]}")
        return self

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        assert self.process is not None
        return self.process.pid

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return self.process is None or self.process.poll() is not None

    def is_ready(self) -> bool:
        """Return whether /readyz answers 200."""
        with suppress(OSError, http.client.HTTPException):
            return self.get("/readyz")[0] == 200
        return False

    def get(self, path: str, timeout_s: float = 2.0) -> tuple[int, str]:
        """Return status and text of an address."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, series: str) -> float:
        """Return the value of a series, named with its labels."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        assert found is not None, f"there is no series {series}"
        return float(found[1])

    def ask(self, *args: object, **query: object) -> Seen:
        """Send one image."""
        return ask(self.port, *args, **query)  # type: ignore[arg-type]

    def answers(self, **query: object) -> bool:
        """Return whether an image is answered."""
        return self.ask(**query).how == OK

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def end_code(self, limit_s: float = 40.0) -> int | None:
        """Wait for the end of the process; return its exit code, or None if it does not end."""
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(limit_s)
        return None

    def kill(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def limit(self, kind: int, soft: int) -> None:
        """Change a limit of the running process, such as resource.RLIMIT_NOFILE."""
        _, hard = resource.prlimit(self.pid, kind)
        resource.prlimit(self.pid, kind, (soft, hard))

    def used(self) -> Used:
        """Return what the process uses now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = {name: int(value) for name, value in re.findall(r"^(Threads|VmRSS):\s+(\d+)", status, re.M)}
        descriptors = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        return Used(found["Threads"], descriptors, found["VmRSS"] / 1024)

    def log(self) -> str:
        """Return what the gateway has written to its log file."""
        return self.log_path.read_text(errors="replace")


@contextmanager
def running(gateway: Gateway) -> Iterator[Gateway]:
    """Start a gateway, and kill it at the end of the block."""
    try:
        yield gateway.start()
    finally:
        gateway.kill()


def wait_until(
    is_so: Callable[[], bool], limit_s: float, in_vain: Callable[[], bool] = lambda: False
) -> bool:
    """Wait until something is so; return False if it is not so in time, or never will be."""
    end_s = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end_s or in_vain():
            return False
        time.sleep(0.02)
    return True


def in_namespace(*commands: str) -> list[str]:
    """Return a command that runs another with mounts of its own, which nobody else sees.

    Args:
        commands: shell commands that mount, such as "mount -t tmpfs -o size=1m tmpfs /folder".
    """
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = " && ".join([*commands, 'exec "$0" "$@"'])
    return ["unshare", "--mount", *user, "sh", "-c", script]
