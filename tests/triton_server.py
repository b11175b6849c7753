"""Starts and stops a real tritonserver on loopback, with a model repository as in production.

All backends of this server are written in Python. That for `openvino` is also used in production. Those for
`tensorrt` and `onnxruntime` exist only for tests.
"""

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".triton"
BACKENDS = (ROOT / "deploy" / "triton" / "backends", ROOT / "tests" / "triton" / "backends")
_START_S = 60.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # ignores http_proxy


def why_unsupported() -> str | None:
    """Return the reason why this machine cannot run the server's wheel, or None if it can."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return (
            f"the tritonserver wheel is for Linux on x86-64, this is {sys.platform} on {platform.machine()}"
        )
    if sys.version_info >= (3, 13):
        return f"tritonserver needs NumPy 1.26, which has no wheel for Python {platform.python_version()}"
    if libpython() is None:
        return "this Python has no shared library (libpython), which Triton's Python backend links"
    return None


def why_no_triton() -> str | None:
    """Return the reason why no server can be started, or None if one can."""
    if reason := why_unsupported():
        return reason
    if not (ENVIRONMENT / ".ready").exists():
        return "the server's environment is missing: `make test` installs it"
    return None


def libpython() -> Path | None:
    """Return the path of the running Python's shared library."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR"), "/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/local/lib"]
    found = (Path(folder) / name for folder in folders if folder)
    return next((path for path in found if path.exists()), None)


@dataclass
class TritonServer:
    """One running server. It can be killed, paused, and started again on the same ports."""

    repository: Path
    command: list[str]
    environment: dict[str, str]
    ports: dict[str, int]
    shm_prefix: str
    log_path: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def grpc_url(self) -> str:
        """Return host:port of the gRPC service."""
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def http_url(self) -> str:
        """Return host:port of the HTTP service."""
        return f"127.0.0.1:{self.ports['http']}"

    @property
    def metrics_url(self) -> str:
        """Return the URL of the metrics."""
        return f"http://127.0.0.1:{self.ports['metrics']}/metrics"

    def start(self) -> None:
        """Start the server; return when it is live and has loaded each requested model, or failed to."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_S
        while not self.live():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"tritonserver did not start:\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def live(self) -> bool:
        """Return whether the server answers; it does so only after it has loaded the models."""
        try:
            with _DIRECT.open(f"http://{self.http_url}/v2/health/live", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def log(self) -> str:
        """Return the server's log so far."""
        return self.log_path.read_text(errors="replace")

    def load(self, model: str) -> None:
        """Load a model, or load it again with its current files."""
        self._control(model, "load")

    def unload(self, model: str) -> None:
        """Unload a model; blocks until its instances are gone."""
        self._control(model, "unload")
        end = time.monotonic() + 10
        while any(model in name for name in self.stub_names()) and time.monotonic() < end:
            time.sleep(0.05)

    def stub_pids(self) -> list[int]:
        """Return the process ids of the Python models."""
        return [pid for pid, _ in self._stubs()]

    def stub_names(self) -> list[str]:
        """Return the command lines of the Python models' processes."""
        return [name for _, name in self._stubs()]

    def kill(self) -> None:
        """Kill the server and its models' processes without warning."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # the process has already ended
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Start again on the same ports after `kill` or `stop`."""
        self.start()

    def pause(self) -> None:
        """Suspend the server's process: connections stay open, but get no answer."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    @property
    def has_ended(self) -> bool:
        """Return whether the server's process has ended; tritonserver 2.51 sometimes does after `resume`."""
        return self.process is not None and self.process.poll() is not None

    def resume(self) -> None:
        """Continue the server after `pause`."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Kill the server and remove its shared memory; a clean end would take seconds."""
        self.kill()
        for leftover in Path("/dev/shm").glob(f"{self.shm_prefix}*"):
            leftover.unlink(missing_ok=True)

    def _control(self, model: str, action: str) -> None:
        url = f"http://{self.http_url}/v2/repository/models/{model}/{action}"
        with _DIRECT.open(urllib.request.Request(url, b"{}", method="POST"), timeout=60):
            pass

    def _stubs(self) -> list[tuple[int, str]]:
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"triton_python_backend_stub" in arguments[0] and self.shm_prefix.encode() in b" ".join(
                arguments
            ):
                found.append((int(folder.name), b" ".join(arguments).decode(errors="replace")))
        return found


@contextmanager
def start_triton(
    repository: Path, *, load: Sequence[str] = ("*",), extra: Sequence[str] = ()
) -> Iterator[TritonServer]:
    """Run a server over a repository until the block ends.

    Args:
        repository: the folder of the models.
        load: models to load at the start; `*` loads all models.
        extra: further command line options of the server.
    """
    prefix = f"sparsight-triton-{secrets.token_hex(4)}"
    scratch = Path(os.environ.get("TMPDIR", "/tmp")) / prefix
    scratch.mkdir()
    ports = dict(zip(("http", "grpc", "metrics"), _free_ports(3), strict=True))
    setpriv = shutil.which("setpriv")  # the kernel kills the server if the tests are killed
    command = [
        *([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []),
        str(_wheel() / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={_backend_folder(scratch)}",
        *(f"--{name}-address=127.0.0.1" for name in ports),
        *(f"--{name}-port={port}" for name, port in ports.items()),
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        "--disable-auto-complete-config",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        *(f"--load-model={model}" for model in load),
        *extra,
    ]
    server = TritonServer(repository, command, _server_environment(), ports, prefix, scratch / "log")
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def _wheel() -> Path:
    return next(ENVIRONMENT.glob("lib/python*/site-packages")) / "pytriton" / "tritonserver"


def _server_environment() -> dict[str, str]:
    shared_library = libpython()
    assert shared_library is not None
    site_packages = next(ENVIRONMENT.glob("lib/python*/site-packages"))
    libraries = f"{shared_library.parent}:{site_packages / 'nvidia_pytriton.libs'}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = f"{ENVIRONMENT / 'bin'}:{kept.get('PATH', '')}"
    return {**kept, "LD_LIBRARY_PATH": libraries, "PATH": path, "VIRTUAL_ENV": str(ENVIRONMENT)}


def _backend_folder(scratch: Path) -> Path:
    folder = scratch / "backends"
    for source in BACKENDS:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    shutil.copy(ROOT / "service" / "cores.py", folder / "openvino")
    python = folder / "python"
    python.mkdir()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = _wheel() / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, python)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copy(_wheel() / "backends" / "python" / name, python)
    return folder


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
