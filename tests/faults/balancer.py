"""HAProxy before several gateways; it sends requests only to those that are ready."""

import csv
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.gateway import Gateway, wait_until
from tests.load.services import free_port

CHECK_EVERY_MS = 100

CONFIGURATION = """\
global
    stats socket {control}
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout check 2s
    retries 3
    option redispatch
frontend callers
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
    default-server check inter {every_ms}ms fall 1 rise 1
{servers}
"""


@dataclass(frozen=True)
class Balancer:
    """A running HAProxy."""

    port: int
    socket: Path

    def up(self) -> int:
        """Return how many gateways get requests."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(b"show stat\n")
            with connection.makefile() as lines:
                rows = list(csv.DictReader(lines))
        return sum(row["svname"].startswith("gateway") and row["status"] == "UP" for row in rows)

    def wait_for(self, count: int) -> None:
        """Wait until so many gateways get requests.

        Raises:
            RuntimeError: it is not so after half a minute.
        """
        if not wait_until(lambda: self.up() == count, 30.0):
            raise RuntimeError(f"{self.up()} gateways get requests, not {count}")


@contextmanager
def balanced(folder: Path, gateways: Sequence[Gateway]) -> Iterator[Balancer]:
    """Run HAProxy before gateways during the block."""
    port, control, log_file = free_port(), folder / "stats.sock", folder / "haproxy.log"
    servers = "\n".join(
        f"    server gateway{number} 127.0.0.1:{one.port}" for number, one in enumerate(gateways)
    )
    file = folder / "haproxy.cfg"
    text = CONFIGURATION.format(control=control, port=port, every_ms=CHECK_EVERY_MS, servers=servers)
    file.write_text(text)
    with log_file.open("wb") as log:
        process = subprocess.Popen(["haproxy", "-f", str(file)], stdout=log, stderr=log)
    try:
        if not wait_until(control.exists, 10.0, lambda: process.poll() is not None):
            raise RuntimeError(f"HAProxy did not start:\n{log_file.read_text()[-2000:]}")
        balancer = Balancer(port, control)
        balancer.wait_for(len(gateways))
        yield balancer
    finally:
        process.kill()
        process.wait()
