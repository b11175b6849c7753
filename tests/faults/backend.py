"""A real Triton behind a gateway, with the tiny model and a backend that does what a fault asks of it."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.builders import build_artifact
from tests.faults.callers import Callers
from tests.faults.gateway import Gateway, wait_until
from tests.faults.scene import Scene
from tests.triton_server import TritonServer, start_triton
from training.export.triton.config import TritonOptions, write_all_configs

MODEL = "tiny-openvino"
GRAPH_S = 0.02  # how long an image takes in Triton: the callers are about half of its full load
BREAKER = {"breaker__probe_interval_s": 0.2, "breaker__probe_timeout_s": 0.5}


@dataclass
class Behind:
    """A Triton, its repository, and the gateway before it."""

    triton: TritonServer
    repository: Path  # Triton's
    local: Path  # the gateway's
    gateway: Gateway

    def behave(self, **behaviour: object) -> None:
        """Tell the model how to behave from now on."""
        behave(self.repository, **behaviour)

    def by_triton(self) -> bool:
        """Return whether Triton answers callers who leave the choice to the gateway."""
        return self.gateway.ask().backend == "triton"

    def kill_model_processes(self) -> None:
        """Kill the processes of the Python models; Triton still says that the models are ready."""
        for pid in self.triton.stub_pids():
            os.kill(pid, signal.SIGKILL)

    def callers(self) -> tuple[Callers, Callers]:
        """Return callers who leave the choice to the gateway, and callers who insist on Triton."""
        port = self.gateway.port
        return (
            Callers("others", port, count=2, pause_s=0.08),
            Callers("pinned", port, count=1, pause_s=0.08, query={"backend": "triton"}),
        )


@contextmanager
def behind(
    scene: Scene, url: str | None = None, options: TritonOptions | None = None, **parts: object
) -> Iterator[Behind]:
    """Run a Triton and a gateway that prefers it and has the same model in its own process.

    Args:
        scene: the scene.
        url: address of Triton for the gateway; {port} is replaced by Triton's gRPC port.
        options: of Triton's model.
        parts: settings of the gateway (`settings`), and other arguments of `Scene.gateway`.
    """
    repository, local = scene.folder / "triton", scene.folder / "local"
    release(repository, "1", options)
    shutil.copytree(repository, local)
    with start_triton(repository, load=[MODEL]) as triton:
        address = url.format(port=triton.ports["grpc"]) if url else triton.grpc_url
        settings = {
            "repository": local,
            "backends": "triton,openvino",
            "triton__url": address,
            "triton__refresh_s": 0.5,
            **BREAKER,
            **parts.pop("settings", {}),  # type: ignore[dict-item]
        }
        with scene.gateway(settings=settings, **parts) as gateway:  # type: ignore[arg-type]
            yield Behind(triton, repository, local, gateway)


def release(
    repository: Path,
    version: str,
    options: TritonOptions | None = None,
    graph_s: float = GRAPH_S,
    **artifact: Any,
) -> None:
    """Write a version of the tiny model for Triton, in place of one that is there."""
    shutil.rmtree(repository / MODEL / version, ignore_errors=True)
    build_artifact(repository, version=version, **artifact)
    write_all_configs(repository, options or TritonOptions(instances=1), name="tiny")
    config = repository / MODEL / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "openvino"', 'backend: "obedient"'))
    behave(repository, sleep_s=graph_s)


def behave(repository: Path, **behaviour: object) -> None:
    """Tell Triton's tiny model how to behave from now on."""
    partial = repository / MODEL / "behaviour.partial"
    partial.write_text(json.dumps(behaviour))
    partial.replace(repository / MODEL / "behaviour.json")


def use_triton(one: Behind) -> None:
    """Wait until Triton answers."""
    if not wait_until(one.by_triton, 20.0):
        raise RuntimeError(f"the gateway does not use Triton:\n{one.gateway.log()[-2000:]}")
    time.sleep(0.1)
