"""A real Alertmanager with the configuration of `deploy/prometheus`, and a receiver of what it sends."""

import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import yaml

from tests.dashboards import PROMETHEUS_FOLDER
from tests.integration.monitoring.conftest import free_port


def why_no_alertmanager() -> str | None:
    """Return the reason why no Alertmanager can be started, or None if one can."""
    if shutil.which("prometheus-alertmanager") and shutil.which("amtool"):
        return None
    package = "prometheus-alertmanager"
    return f"{package} is not installed (Debian: apt-get install --no-install-recommends {package})"


@dataclass
class Receiver:
    """An HTTP server that keeps every alert that it gets; the path is the name of the receiver."""

    url: str
    got: list[tuple[str, dict]] = field(default_factory=list)  # receiver, alert

    def alerts(self, name: str, status: str = "firing") -> dict[str, dict[str, str]]:
        """Return the labels of each alert that a receiver got with a status, by the alert's name."""
        return {
            alert["labels"]["alertname"]: alert["labels"]
            for receiver, alert in list(self.got)
            if receiver == name and alert["status"] == status
        }

    def wait_for(self, name: str, alert: str, status: str = "firing", within_s: float = 60) -> dict[str, str]:
        """Wait until a receiver has got an alert; return its labels."""
        end = time.monotonic() + within_s
        while alert not in self.alerts(name, status):
            assert time.monotonic() < end, f"{name} got no {alert} ({status}), only {self.got}"
            time.sleep(0.1)
        return self.alerts(name, status)[alert]


@contextmanager
def start_receiver():
    """Run a receiver on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.got.extend((self.path.strip("/"), alert) for alert in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def start_alertmanager(folder: Path, receiver: Receiver):
    """Run Alertmanager with the routes of deploy/prometheus, but other receivers and short waits.

    Yield a client for its API.
    """
    config = yaml.safe_load((PROMETHEUS_FOLDER / "alertmanager.yml").read_text())
    for each in config["receivers"]:
        each["webhook_configs"] = [{"url": f"{receiver.url}/{each['name']}"}]
    config["route"] |= {"group_wait": "500ms", "group_interval": "1s"}
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus-alertmanager",
        f"--config.file={path}",
        f"--storage.path={folder / 'state'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            end = time.monotonic() + 20
            while True:
                assert process.poll() is None, (folder / "alertmanager.log").read_text()
                try:
                    if client.get("/-/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert time.monotonic() < end, (folder / "alertmanager.log").read_text()
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=20)
