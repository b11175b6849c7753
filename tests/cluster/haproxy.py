"""A real HAProxy, which stands for the Service of the gateways and for the Service of the Tritons.

Servers come and go while it runs, as endpoints of a Service do. It checks them as the readiness probes do.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart import HttpProbe

GATEWAYS, TRITONS = "gateways", "tritons"
SLOTS = 8  # servers of each kind at the same time
LARGEST_BODY = 1_000_000  # HAProxy sends a request again only if all of it fits its buffer

# `retry-on` sends a request again, to another server, after a refused connection and after one that broke
# before the answer. HAProxy cannot know that this is safe; here it is, because POST /detect changes nothing.
CONFIGURATION = """
global
    stats socket {folder}/control mode 600 level admin
    tune.bufsize {buffer}
defaults
    timeout connect 1s
frontend public
    mode http
    timeout client 30s
    bind 127.0.0.1:{gateway_port}
    option http-buffer-request
    default_backend gateways
backend gateways
    mode http
    timeout server 15s
    balance leastconn
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 0rtt-rejected
    option httpchk
    http-check send meth GET uri {path} ver HTTP/1.1 hdr Host gateway
    http-check expect status 200
    timeout check {timeout}s
    default-server inter {period}s fastinter 1s fall {failures} rise 1
{gateway_slots}
frontend triton
    mode tcp
    timeout client 1h
    bind 127.0.0.1:{triton_port}
    default_backend tritons
backend tritons
    mode tcp
    timeout server 1h
    balance roundrobin
    option redispatch 1
    option httpchk GET /v2/health/ready
    timeout check {timeout}s
    default-server inter {period}s fastinter 1s fall {failures} rise 1
{triton_slots}
"""


def why_no_haproxy() -> str | None:
    """Return the reason why HAProxy cannot be started, or None if it can."""
    if shutil.which("haproxy") or Path("/usr/sbin/haproxy").exists():
        return None
    return "haproxy is not installed (Debian: apt-get install --no-install-recommends haproxy)"


@dataclass
class Balancer:
    """A running HAProxy."""

    control: Path
    gateway_port: int
    triton_port: int
    process: subprocess.Popen[bytes]
    _slots: dict[tuple[str, int], str] = field(default_factory=dict)  # by kind and port

    def add(self, kind: str, port: int, check_port: int | None = None) -> None:
        """Send requests or connections to a port, too."""
        taken = set(self._slots.values())
        slot = next(name for number in range(SLOTS) if (name := f"{kind}/s{number}") not in taken)
        self._slots[kind, port] = slot
        self.tell(f"set server {slot} addr 127.0.0.1 port {port}")
        if check_port is not None:
            self.tell(f"set server {slot} check-port {check_port}")
        self.tell(f"enable health {slot}")
        self.tell(f"set server {slot} state ready")

    def remove(self, kind: str, port: int) -> None:
        """Send nothing new to a port; what runs there ends by itself, as with an endpoint that is removed."""
        slot = self._slots.pop((kind, port))
        self.tell(f"set server {slot} state maint")

    def tell(self, command: str) -> str:
        """Give HAProxy a command; return its answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.connect(str(self.control))
            control.sendall(f"{command}\n".encode())
            parts = []
            while part := control.recv(65536):
                parts.append(part)
        answer = b"".join(parts).decode()
        assert not answer.startswith(("No such", "Unknown", "Invalid", "Require")), f"{command}: {answer}"
        return answer

    def retried(self) -> int:
        """Return how many requests were sent again."""
        row = self._statistics(f"{GATEWAYS}/BACKEND")
        return int(row["wretr"]) + int(row["wredis"])

    def in_flight(self, kind: str, port: int) -> int:
        """Return how many requests or connections are at a port now."""
        return int(self._statistics(self._slots[kind, port])["scur"])

    def _statistics(self, of: str) -> dict[str, str]:
        lines = self.tell("show stat").splitlines()
        names = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return next(row for row in rows if f"{row['pxname']}/{row['svname']}" == of)


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def start_haproxy(folder: Path, probe: HttpProbe) -> Iterator[Balancer]:
    """Run HAProxy without any server until the block ends; `probe` is the gateways' readiness probe."""
    gateway_port, triton_port = free_port(), free_port()
    text = CONFIGURATION.format(
        folder=folder,
        buffer=LARGEST_BODY,
        gateway_port=gateway_port,
        triton_port=triton_port,
        path=probe.path,
        timeout=probe.timeout_s,
        period=probe.period_s,
        failures=probe.failures,
        gateway_slots="\n".join(f"    server s{n} 127.0.0.1:1 check disabled" for n in range(SLOTS)),
        triton_slots="\n".join(f"    server s{n} 127.0.0.1:1 check port 1 disabled" for n in range(SLOTS)),
    )
    (folder / "haproxy.cfg").write_text(text)
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=log)
    try:
        balancer = Balancer(folder / "control", gateway_port, triton_port, process)
        end = time.monotonic() + 10
        while not balancer.control.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"haproxy did not start:\n{(folder / 'haproxy.log').read_text()}")
            time.sleep(0.02)
        yield balancer
    finally:
        process.terminate()
        process.wait(timeout=20)
