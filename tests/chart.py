"""The Helm chart as the cluster gets it, rendered by the real Helm.

What a container runs has one definition, the chart. Tests that start several gateways and Tritons as
processes take commands, settings, probes and scaling queries from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.helm import ask_helm

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "sparsight"
CI_VALUES = sorted((CHART / "ci").glob("*.yaml"))
KSERVE = ROOT / "deploy" / "kserve"
NAMESPACE = "prod"
RELEASE = "sparsight"

Object = dict[str, Any]


@dataclass(frozen=True)
class HttpProbe:
    """A probe that asks over HTTP, with the port as a number."""

    path: str
    port: int
    scheme: str
    period_s: int
    timeout_s: int
    failures: int


@dataclass(frozen=True)
class Container:
    """What a container runs, and how the cluster looks at it."""

    command: list[str]  # with args
    env: dict[str, str]  # without what comes from Secrets
    ports: dict[str, int]
    probes: dict[str, HttpProbe]  # startup, liveness, readiness; only those over HTTP
    raw: Object


@dataclass(frozen=True)
class ScalingQuery:
    """A query of Prometheus; `ceil(its value / threshold)` gateways are wanted."""

    metric: str
    query: str
    threshold: float


def render_files(values: Mapping[str, Any], chart: Path = CHART) -> dict[str, str]:
    """Return the rendered templates by their path.

    Raises:
        ChartRefused: the values do not fit values.schema.json, contradict each other, or break a template.
    """
    rendered = ask_helm("render", chart, values, name=RELEASE, namespace=NAMESPACE)
    return {name.partition("/templates/")[2]: text for name, text in rendered.items()}


def render(values: Mapping[str, Any] | None = None, chart: Path = CHART) -> list[Object]:
    """Return every object that the chart gives the cluster with these values."""
    objects: list[Object] = []
    for name, text in render_files(values or {}, chart).items():
        if name.endswith(".yaml"):
            objects += [each for each in yaml.safe_load_all(text) if each]
    return objects


def values_of(path: Path) -> Object:
    """Return the values in a file; none if the file has only comments."""
    return yaml.safe_load(path.read_text()) or {}


def kserve_objects() -> list[Object]:
    """Return the objects of the files for KServe."""
    files = sorted(KSERVE.glob("*.yaml"))
    return [each for path in files for each in yaml.safe_load_all(path.read_text())]


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    """Return the objects of one kind."""
    return [each for each in objects if each["kind"] == kind]


def pod_specs(objects: Sequence[Object]) -> dict[str, Object]:
    """Return the pod specs of all Deployments, by their component."""
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]["spec"]
        for each in of_kind(objects, "Deployment")
    }


def containers(objects: Sequence[Object]) -> list[Object]:
    """Return all containers as the cluster gets them, init containers too."""
    return [
        each for pod in pod_specs(objects).values()
        for each in (*pod.get("initContainers", ()), *pod["containers"])
    ]  # fmt: skip


def container(objects: Sequence[Object], name: str) -> Container:
    """Return what the first container of this name runs."""
    raw = next(each for each in containers(objects) if each["name"] == name)
    ports = {each["name"]: each["containerPort"] for each in raw.get("ports", ())}
    return Container(
        command=[*raw["command"], *raw.get("args", ())],
        env={each["name"]: each["value"] for each in raw.get("env", ()) if "value" in each},
        ports=ports,
        probes={
            kind: _http_probe(raw[f"{kind}Probe"], ports)
            for kind in ("startup", "liveness", "readiness")
            if "httpGet" in raw.get(f"{kind}Probe", ())
        },
        raw=raw,
    )


def _http_probe(probe: Object, ports: Mapping[str, int]) -> HttpProbe:
    asked = probe["httpGet"]
    port = ports[asked["port"]]
    return HttpProbe(
        asked["path"], port, asked["scheme"], probe["periodSeconds"], probe["timeoutSeconds"],
        probe["failureThreshold"],
    )  # fmt: skip


def scaling_queries(objects: Sequence[Object]) -> list[ScalingQuery]:
    """Return the queries by which KEDA or the HorizontalPodAutoscaler scales."""
    found = [
        ScalingQuery(trigger["name"], trigger["metadata"]["query"], float(trigger["metadata"]["threshold"]))
        for scaled in of_kind(objects, "ScaledObject")
        for trigger in scaled["spec"]["triggers"]
    ]
    recorded = {
        rule["record"]: rule["expr"]
        for rules in of_kind(objects, "PrometheusRule")
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            name = metric["external"]["metric"]["name"]
            target = metric["external"]["target"]["averageValue"]
            found.append(ScalingQuery(name, recorded[name], float(target)))
    return found
