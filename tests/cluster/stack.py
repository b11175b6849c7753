"""Gateways and Tritons as the chart starts them, but as processes of this machine, behind a real HAProxy.

Commands and settings are those of the rendered containers; only paths, addresses and ports are replaced.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chart import ROOT, Container, container, pod_specs, render
from tests.cluster.haproxy import GATEWAYS, TRITONS, Balancer, free_port, start_haproxy
from tests.load.quota import control_group
from tests.triton_server import TritonServer, start_triton

MODELS = ROOT / "model_repository"
MODEL = "starter-openvino"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_START_S = 90.0


@dataclass
class Gateway:
    """One gateway, which stands for a pod."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def answers(self, path: str) -> bool:
        """Return whether the gateway answers a path with 200."""
        try:
            with _DIRECT.open(f"http://127.0.0.1:{self.port}{path}", timeout=4) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass
class Cluster:
    """The running parts, and what happens to them in a cluster."""

    folder: Path
    models: Path
    chart: list[dict[str, Any]]
    balancer: Balancer
    gateways: list[Gateway] = field(default_factory=list)
    tritons: list[TritonServer] = field(default_factory=list)
    _closing: ExitStack = field(default_factory=ExitStack)
    _number: int = 0

    @property
    def port(self) -> int:
        """Return the port of the Service of the gateways."""
        return self.balancer.gateway_port

    @property
    def drain_s(self) -> float:
        """Return the seconds between the removal from the Service and SIGTERM."""
        (gateway,) = pod_specs(self.chart)["gateway"]["containers"]
        return float(gateway["lifecycle"]["preStop"]["sleep"]["seconds"])

    def add_gateway(self, cores: float | None = None) -> Gateway:
        """Start a gateway; send it requests when its readiness probe succeeds.

        With `cores`, it may use only so many, as a container with a limit.
        """
        given = container(self.chart, "gateway")
        port = free_port()
        self._number += 1
        log = self.folder / f"gateway-{self._number}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self._command(given, cores),
                cwd=ROOT,
                env=self._environment(given, port),
                stdout=out,
                stderr=out,
            )
        gateway = Gateway(port, process, log)
        self.gateways.append(gateway)
        end = time.monotonic() + _START_S
        while not gateway.answers(given.probes["readiness"].path):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the gateway did not become ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        self.balancer.add(GATEWAYS, port)
        return gateway

    def remove_gateway(self, gateway: Gateway) -> int:
        """End a gateway as Kubernetes ends a pod; return its exit code."""
        self.balancer.remove(GATEWAYS, gateway.port)
        time.sleep(self.drain_s)
        gateway.process.send_signal(signal.SIGTERM)
        code = gateway.process.wait(pod_specs(self.chart)["gateway"]["terminationGracePeriodSeconds"])
        self.gateways.remove(gateway)
        return code

    def kill_gateway(self, gateway: Gateway) -> None:
        """Kill a gateway while it works on a request; HAProxy finds out by itself."""
        while not self.balancer.in_flight(GATEWAYS, gateway.port):
            assert gateway.process.poll() is None
        gateway.process.kill()
        gateway.process.wait()

    def forget_gateway(self, gateway: Gateway) -> None:
        """Take a dead gateway out of the Service."""
        self.balancer.remove(GATEWAYS, gateway.port)
        self.gateways.remove(gateway)

    def add_triton(self) -> TritonServer:
        """Start a Triton; gateways may connect to it when it is ready."""
        given = container(self.chart, "triton").command
        ours = ("--model-repository", "--http-", "--grpc-", "--metrics-")
        options = [option for option in given[1:] if not option.startswith(ours)]
        server = self._closing.enter_context(start_triton(self.models, load=[], extra=options))
        self.tritons.append(server)
        self.balancer.add(TRITONS, server.ports["grpc"], server.ports["http"])
        return server

    def remove_triton(self, server: TritonServer) -> None:
        """End a Triton as Kubernetes ends a pod."""
        self.balancer.remove(TRITONS, server.ports["grpc"])
        time.sleep(self.drain_s)
        assert server.process is not None
        server.process.terminate()
        server.process.wait(timeout=45)
        server.stop()
        self.tritons.remove(server)

    def _command(self, given: Container, cores: float | None) -> list[str]:
        assert given.command[0] == "python"
        command = [sys.executable, *given.command[1:]]
        if cores is None:
            return command
        group = self._closing.enter_context(control_group(cores, f"gateway-{self._number}"))
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]

    def _environment(self, given: Container, port: int) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
        replaced = {
            "SPARSIGHT_HOST": "127.0.0.1",
            "SPARSIGHT_PORT": str(port),
            "SPARSIGHT_REPOSITORY": str(self.models),
        }
        if "SPARSIGHT_TRITON__URL" in given.env:
            replaced["SPARSIGHT_TRITON__URL"] = f"127.0.0.1:{self.balancer.triton_port}"
        return {**kept, **given.env, **replaced}

    def close(self) -> None:
        """Kill everything that still runs."""
        for gateway in self.gateways:
            gateway.process.kill()
            gateway.process.wait()
        self._closing.close()


def _models_that_take(infer_s: float, folder: Path) -> Path:
    """Return a copy of the project's models that Triton runs with the backend of the tests."""
    copied = folder / "models"
    shutil.copytree(MODELS, copied, ignore=shutil.ignore_patterns(".staging-*"))
    config = copied / MODEL / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "openvino"', 'backend: "obedient"'))
    (copied / MODEL / "behaviour.json").write_text(json.dumps({"sleep_s": infer_s}))
    return copied


@contextmanager
def start_cluster(
    values: Mapping[str, Any], *, gateways: int, tritons: int, infer_s: float = 0.0
) -> Iterator[Cluster]:
    """Run what the chart renders with these values until the block ends.

    Args:
        values: of the chart.
        gateways: number at the start.
        tritons: number at the start.
        infer_s: time that Triton waits in every inference, as if a GPU worked: requests then are in flight
            at any moment, at little cost for this machine.
    """
    chart = render(values)
    with tempfile.TemporaryDirectory(prefix="sparsight-cluster-") as name:
        folder = Path(name)
        with start_haproxy(folder, container(chart, "gateway").probes["readiness"]) as balancer:
            cluster = Cluster(folder, _models_that_take(infer_s, folder), chart, balancer)
            try:
                for _ in range(tritons):
                    cluster.add_triton()
                for _ in range(gateways):
                    cluster.add_gateway()
                yield cluster
            finally:
                cluster.close()
