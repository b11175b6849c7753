"""What happens to a cluster under load, and what its callers notice."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.chart import NAMESPACE, RELEASE, of_kind, scaling_queries
from tests.cluster.autoscaler import Autoscaler
from tests.cluster.stack import Cluster, start_cluster
from tests.cluster.traffic import Traffic
from tests.integration.monitoring.conftest import Prometheus, run_prometheus
from tests.load.callers import measure
from tests.load.reports import Load, percentile

SCRAPE_S = 0.5
# The chart's defaults, but shorter times, and thresholds that this load reaches.
VALUES: Mapping[str, Any] = {
    "layout": "apart",
    "gateway": {"drainSeconds": 1, "settings": {"openvino": {"threads": 1}, "max_queue_s": 10}},
    "autoscaling": {
        "kind": "keda", "min": 2, "max": 3, "inflight": 0.3, "window": "4s", "stabilizationSeconds": 4,
        "keda": {"pollingSeconds": 1},
    },
    "monitoring": {"serviceMonitor": True, "rules": True},
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What the callers noticed in one step. Everything that is not answered with 200 has failed."""

    step: str
    rate: float  # images/s
    sent: int
    failed: int
    retried: int  # by HAProxy
    p50_ms: float
    p99_ms: float
    note: str


def under_load(cluster: Cluster, step: str, image: bytes, rate: float, act: Callable[[], str]) -> Outcome:
    """Do something to a cluster while images arrive, and return what their callers noticed."""
    retried = cluster.balancer.retried()
    with Traffic(f"http://127.0.0.1:{cluster.port}/detect", image, rate) as traffic:
        time.sleep(1)
        note = act()
        time.sleep(1)
    latencies = sorted(traffic.latencies_ms)
    problems = {name: count for name, count in traffic.statuses.items() if name != "200"}
    return Outcome(
        step, rate, traffic.sent, traffic.failed, cluster.balancer.retried() - retried,
        percentile(latencies, 0.5), percentile(latencies, 0.99), f"{note} {problems or ''}".strip(),
    )  # fmt: skip


def kill_one_of_each(cluster: Cluster) -> str:
    """Kill a gateway and a Triton without warning; each comes back, as the kubelet brings it back."""
    gateway = cluster.gateways[0]
    cluster.kill_gateway(gateway)
    time.sleep(1)
    cluster.forget_gateway(gateway)
    cluster.add_gateway()
    triton = cluster.tritons[0]
    triton.kill()
    time.sleep(1)
    triton.restart()
    time.sleep(2)
    return "kill -9 of a gateway with a request in flight, then of a Triton"


def roll(cluster: Cluster, *, only_first: bool = False) -> str:
    """Replace every gateway and Triton, one after another; a new one is ready before an old one goes."""
    last = 1 if only_first else None
    for gateway in cluster.gateways[:last]:
        cluster.add_gateway()
        code = cluster.remove_gateway(gateway)
        if code:
            raise RuntimeError(
                f"a gateway ended with {code} after SIGTERM:\n{gateway.log.read_text()[-3000:]}"
            )
    for triton in cluster.tritons[:last]:
        cluster.add_triton()
        cluster.remove_triton(triton)
    return "one gateway and one Triton replaced" if only_first else "every gateway and Triton replaced"


@contextmanager
def watched(cluster: Cluster) -> Iterator[tuple[Prometheus, Callable[[], None]]]:
    """Run a real Prometheus; the function tells it which gateways there are now."""
    folder = cluster.folder / "prometheus"
    folder.mkdir()
    targets = folder / "gateways.json"

    def discover() -> None:
        labels = {"namespace": NAMESPACE, "service": RELEASE}
        addresses = [f"127.0.0.1:{gateway.port}" for gateway in cluster.gateways]
        written = targets.with_suffix(".new")
        written.write_text(json.dumps([{"targets": addresses, "labels": labels}]))
        written.replace(targets)

    discover()
    (rules,) = of_kind(cluster.chart, "PrometheusRule")
    (folder / "rules.yml").write_text(yaml.safe_dump(rules["spec"]))
    config = {
        "global": {"scrape_interval": f"{int(SCRAPE_S * 1000)}ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "gateway", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}]}
        ],
    }
    with run_prometheus(folder, config) as prometheus:
        yield prometheus, discover


class Scaling:
    """What KEDA does: it asks Prometheus the chart's queries, and changes the number of gateways."""

    def __init__(self, cluster: Cluster, prometheus: Prometheus, discover: Callable[[], None]) -> None:
        """Take the queries and the limits from the rendered ScaledObject."""
        (scaled,) = of_kind(cluster.chart, "ScaledObject")
        spec = scaled["spec"]
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self._cluster, self._prometheus, self._discover = cluster, prometheus, discover
        self._every_s = spec["pollingInterval"]
        self._autoscaler = Autoscaler(
            scaling_queries(cluster.chart), spec["minReplicaCount"], spec["maxReplicaCount"],
            behaviour["scaleDown"]["stabilizationWindowSeconds"],
        )  # fmt: skip

    def sums(self) -> list[float]:
        """Return the value of each query now."""
        found = [self._prometheus.query(query.query) for query in self._autoscaler.queries]
        return [float(rows[0]["value"][1]) if rows else math.nan for rows in found]

    def until(self, wanted: int, within_s: float) -> list[float]:
        """Scale until so many gateways run; return the values that decided.

        Raises:
            TimeoutError: the queries do not lead there.
        """
        end, sums = time.monotonic() + within_s, [math.nan]
        while len(self._cluster.gateways) != wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self._cluster.gateways)} gateways instead of {wanted}: {sums}")
            time.sleep(self._every_s)
            sums = self.sums()
            if not any(map(math.isnan, sums)):
                self._step(sums)
        return sums

    def _step(self, sums: Sequence[float]) -> None:
        gateways = self._cluster.gateways
        desired = self._autoscaler.desired(sums, len(gateways), time.monotonic())
        while desired > len(gateways):
            self._cluster.add_gateway()
            self._discover()
        while desired < len(gateways):
            self._cluster.remove_gateway(gateways[-1])
            self._discover()


def scale(cluster: Cluster, image: bytes, low: float, high: float) -> list[Outcome]:
    """Raise the rate until a gateway is added, then lower it until one is taken away."""
    least, most = 2, 3
    outcomes = []
    with watched(cluster) as (prometheus, discover):
        scaling = Scaling(cluster, prometheus, discover)
        for rate, wanted in ((high, most), (low, least)):
            before = len(cluster.gateways)

            def act(wanted: int = wanted, before: int = before) -> str:
                decided = scaling.until(wanted, within_s=60)
                return f"{before} → {wanted} gateways, at {' and '.join(f'{value:.2f}' for value in decided)}"

            outcomes.append(under_load(cluster, "scale", image, rate, act))
    return outcomes


def throughput(image: bytes, cores: float, seconds: float = 10.0) -> str:
    """Return how many images per second one gateway and three answer, each limited to so many cores.

    The limit stands for the limit of a container. So this shows that gateways behind a balancer add up, and
    not how fast a machine is.
    """
    values = {"layout": "alone", "gateway": {"settings": {"workers": 1, "max_queue_s": 60, "timeout_s": 60}}}
    rates = []
    with start_cluster(values, gateways=0, tritons=0) as cluster, TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        path.write_bytes(image)
        for number in (1, 3):
            while len(cluster.gateways) < number:
                cluster.add_gateway(cores)
            load = Load(cluster.port, (str(path),), callers=9, seconds=seconds, before_s=3.0)
            rates.append(measure(load).rate)
    one, three = rates
    found = f"one answers {one:.1f} images/s, three {three:.1f}, which is {three / one:.2f} times as many"
    return f"each gateway has {cores:g} cores: {found}"
