"""A real Prometheus on a free loopback port, with the configuration and alerts of `deploy/prometheus`."""

import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.dashboards import PROMETHEUS_FOLDER

SCRAPE_S = 0.5


def why_no_prometheus() -> str | None:
    """Return the reason why no Prometheus can be started, or None if one can."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return None
    return "prometheus is not installed (Debian: apt-get install --no-install-recommends prometheus)"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    client: httpx.Client

    def ask(self, path: str, **parameters: object) -> dict:
        answer = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict]:
        """Return the current values of an expression, one for each series."""
        return self.ask("query", query=expression)["result"]

    def query_range(self, expression: str, seconds: float = 10) -> list[dict]:
        """Return the values of an expression over the last seconds, for each series."""
        now = time.time()
        return self.ask("query_range", query=expression, start=now - seconds, end=now, step=1)["result"]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_for(self, expression: str, within_s: float = 20) -> None:
        """Wait until an expression has a value."""
        end = time.monotonic() + within_s
        while not self.query(expression):
            assert time.monotonic() < end, f"no value within {within_s} s: {expression}"
            time.sleep(0.1)


@contextmanager
def start_prometheus(
    folder: Path,
    *,
    faster: int = 1,
    scrape_s: float = SCRAPE_S,
    alertmanager: str = "127.0.0.1:9",
    **targets: str,
):
    """Run Prometheus with the files of deploy/prometheus, but other addresses and shorter intervals.

    Args:
        folder: for the changed configuration and the data.
        faster: every time in the rules is divided by this.
        scrape_s: seconds between two scrapes, and between two evaluations of the rules.
        alertmanager: host:port of an Alertmanager; nobody listens on the default.
        targets: host:port by job; other jobs keep their production addresses.
    """
    config = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], f"{int(scrape_s * 1000)}ms")
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    for name in config["rule_files"]:
        (folder / name).write_text(hurried((PROMETHEUS_FOLDER / name).read_text(), faster))
    port = free_port()
    for job in config["scrape_configs"]:
        if address := {**targets, "prometheus": f"127.0.0.1:{port}"}.get(job["job_name"]):
            job["static_configs"] = [{"targets": [address]}]
    with run_prometheus(folder, config, port) as prometheus:
        yield prometheus


def hurried(rules: str, faster: int) -> str:
    """Return rules whose windows and waiting times are divided by a number, in whole milliseconds."""
    unit_ms = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

    def shorter(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2]) * unit_ms[match[3]] // faster}ms{match[4]}"

    rules = re.sub(r"(\[)(\d+)([smhd])(\])", shorter, rules)
    return re.sub(r"(\bfor: )(\d+)([smhd])(\n)", shorter, rules)


@contextmanager
def run_prometheus(folder: Path, config: dict, port: int | None = None):
    """Run Prometheus with a configuration; its files are named from the folder, which also holds the data."""
    port = port or free_port()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--storage.tsdb.path={folder / 'data'}"], stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            _wait_until_ready(client, process, folder / "log")
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen, log: Path) -> None:
    for _ in range(400):
        assert process.poll() is None, log.read_text()
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
