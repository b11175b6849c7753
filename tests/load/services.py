"""Start the services that the load tests compare, each in a process of its own, and stop them."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.load.callers import ROOT, measure, request_of
from tests.load.costs import processor_s, ticks_of_family
from tests.load.reports import Load, Report

STARTER = ROOT / "model_repository" / "starter-openvino" / "1"
LITSERVE = "0.2.19"
THIS, NAIVE, LIT = "this build", "naive FastAPI", f"LitServe {LITSERVE}"
READY_S = 120.0
ACTIVATIONS = re.compile(r'sparsight_expert_activations_total\{.*?layer="([^"]+)".*?\} (\S+)')
IMAGES = re.compile(r'sparsight_stage_duration_seconds_count\{.*?stage="postprocess"\} (\S+)')


@dataclass
class Service:
    """A service that can be started, loaded and stopped; the port stays the same over restarts."""

    name: str
    command: Sequence[str]
    port: int
    environment: Mapping[str, str]
    image: str  # with which the service shows that it is ready
    folder: Path = ROOT
    form_field: str = ""
    has_metrics: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def load(self, images: tuple[str, ...], **options: Any) -> Load:
        """Return a load for this service; see `Load` for the options."""
        return Load(self.port, images, form_field=self.form_field, **options)

    def measure(self, images: tuple[str, ...], **options: Any) -> Report:
        """Return what callers measured; afterwards, wait until the service is idle."""
        report = measure(self.load(images, **options))
        self.settle()
        return report

    def start(self) -> None:
        """Start the service, and wait until it has answered an image.

        Raises:
            RuntimeError: it ended, or did not become ready; the message has the end of its log.
        """
        log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the service
        self.process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that workers end with it
        )
        end_s = time.monotonic() + READY_S
        while not self._answers(timeout_s=10.0):
            if self.process.poll() is not None or time.monotonic() > end_s:
                log.seek(0)
                self.stop()
                raise RuntimeError(f"{self.name} did not become ready:\n{log.read()[-2000:].decode()}")
            time.sleep(0.1)
        log.close()
        # The first images after a start are slow.
        measure(self.load((self.image,), callers=2, seconds=0.5, before_s=0, deadline_s=0.5))

    def stop(self) -> None:
        """Stop the service and its workers; those that do not end on their own are killed."""
        if self.process is None:
            return
        self.process.terminate()
        # If it does not end in time, it still works off what the callers have left.
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def settle(self, patience_s: float = 2.0) -> None:
        """Wait until the service is idle; restart it if requests of an earlier load keep it busy for long.

        Otherwise it would slow down the service that is measured next.
        """
        end_s = time.monotonic() + patience_s
        while self.process is not None and self.process.poll() is None and time.monotonic() < end_s:
            if self._is_idle():
                return
        self.stop()
        self.start()

    def _is_idle(self, over_s: float = 0.25) -> bool:
        assert self.process is not None
        before_s = processor_s(self.process.pid)
        time.sleep(over_s)
        return processor_s(self.process.pid) - before_s < 0.1 * over_s

    def experts_and_images(self) -> tuple[float, float] | None:
        """Return how many experts of a mixture layer ran on average, summed over images, and the images.

        The difference of two readings, divided, is the average number of experts. None without metrics.
        """
        if not self.has_metrics:
            return None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        rows = ACTIVATIONS.findall(text)
        layers = len({layer for layer, _ in rows})
        experts = sum(float(count) for _, count in rows) / max(1, layers)
        return experts, sum(map(float, IMAGES.findall(text)))

    def memory_mb(self) -> float:
        """Return the resident memory of the service and its workers; memory that they share counts once."""
        assert self.process is not None
        own_kb = shared_kb = 0
        for pid in ticks_of_family(self.process.pid):
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:  # it has just ended
                continue
            kb = {name: int(value) for name, value in re.findall(r"(\w+):\s+(\d+) kB", rollup)}
            own_kb += kb["Private_Clean"] + kb["Private_Dirty"]
            shared_kb = max(shared_kb, kb["Shared_Clean"] + kb["Shared_Dirty"])
        return (own_kb + shared_kb) / 1024

    def _answers(self, timeout_s: float) -> bool:
        data = request_of(self.load(()), Path(self.image).read_bytes())
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
                connection.sendall(data)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                answer.read()
                return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False


def this_build(image: str, settings: Mapping[str, str], artifact: Path = STARTER) -> Service:
    """Return the service of this checkout, with the settings of the environment and further settings.

    Args:
        image: file of an image with which the service shows that it is ready.
        settings: environment variables, beside those of this process.
        artifact: folder of the version of a model; its repository is served.
    """
    return _build(THIS, ROOT, {**os.environ, **settings}, image, artifact)


def build_of(commit: str, folder: Path, image: str, artifact: Path = STARTER) -> Service:
    """Return the service of a commit, unpacked into an empty folder.

    If it serves the starter, it takes the starter of its commit, because an older build may refuse a newer
    artifact. It does not take SPARSIGHT_ settings from the environment: an older build may not know them.

    Raises:
        RuntimeError: git does not know the commit.
    """
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise RuntimeError(f"there is no build of {commit}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    artifact = folder / STARTER.relative_to(ROOT) if artifact == STARTER else artifact
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    return _build(f"before ({commit[:12]})", folder, plain, image, artifact)


def _build(name: str, folder: Path, environment: Mapping[str, str], image: str, artifact: Path) -> Service:
    port = free_port()
    ours = {"HOST": "127.0.0.1", "PORT": str(port), "SPARSIGHT_REPOSITORY": str(artifact.parents[1])}
    ours["SPARSIGHT_DEFAULT_MODEL"] = json.loads((artifact / "manifest.json").read_text())["name"]
    command = [sys.executable, "-m", "service"]
    return Service(name, command, port, {**environment, **ours}, image, folder, has_metrics=True)


def naive(image: str, artifact: Path = STARTER) -> Service:
    """Return the endpoint of naive.py."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "tests.load.naive:create_app",
        "--port",
        str(port),
    ]
    environment = os.environ | {"ARTIFACT": str(artifact)}
    return Service(NAIVE, [*command, "--no-access-log"], port, environment, image)


def lit_serve(image: str, artifact: Path = STARTER) -> Service:
    """Return the endpoint of lit.py; the first time, install its environment into the user's cache."""
    port = free_port()
    command = [str(litserve_python()), "-m", "tests.load.lit", str(port)]
    environment = os.environ | {"ARTIFACT": str(artifact)}
    return Service(LIT, command, port, environment, image, form_field="request")


def litserve_python() -> Path:
    """Return the Python of an environment with LitServe and with this project's engine and image library."""
    shared = ("openvino", "opencv-python-headless", "numpy", "python-multipart")
    wanted = "\n".join([f"litserve=={LITSERVE}", *(f"{name}=={version(name)}" for name in shared)])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "sparsight-load" / f"litserve-python-{sys.version.split()[0]}"
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        venv.create(folder, with_pip=True, symlinks=True, clear=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, *wanted.split()], check=True, stdout=sys.stderr)
        installed.write_text(wanted)
    return python


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(services: Sequence[Service]) -> Iterator[None]:
    """Start services, and stop them at the end."""
    try:
        for service in services:
            print(f"starting {service.name}", file=sys.stderr)
            service.start()
        yield
    finally:
        for service in services:
            service.stop()
