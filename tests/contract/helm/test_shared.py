"""What the Helm chart shares with the Compose stack, the alerts, the dashboard and the files for KServe."""

import copy
import re
import shutil
import subprocess

import pytest
import yaml

from tests.chart import (
    CHART,
    NAMESPACE,
    ROOT,
    container,
    containers,
    kserve_objects,
    of_kind,
    pod_specs,
    render,
    scaling_queries,
    values_of,
)
from tests.contract.test_deploy import compose
from tests.helm import why_no_helm

pytestmark = pytest.mark.skipif(why_no_helm() is not None, reason=str(why_no_helm()))


# ---- one definition ----


def test_alerts_dashboard_and_builder_of_plans_are_those_of_the_other_stack():
    given = render({"gpu": {"enabled": True}, "monitoring": {"rules": True, "dashboard": True}})
    (rules,) = of_kind(given, "PrometheusRule")
    files = [ROOT / "deploy" / "prometheus" / name for name in ("rules.yml", "alerts.yml")]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert rules["spec"]["groups"] == groups
    data = {name: text for each in of_kind(given, "ConfigMap") for name, text in each["data"].items()}
    dashboards = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    assert dashboards
    assert {path.name for path in dashboards} == {name for name in data if name.endswith(".json")}
    for path in dashboards:
        assert data[path.name] == path.read_text()
    assert data["build_plans.sh"] == (ROOT / "deploy/docker/build_plans.sh").read_text()


def test_the_series_get_the_jobs_that_alerts_and_dashboard_ask_for():
    given = render({"layout": "apart", "monitoring": {"serviceMonitor": True}})
    jobs = set()
    for monitor in of_kind(given, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [
            each for each in of_kind(given, "Service") if wanted <= each["metadata"]["labels"].items()
        ]
        assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
        jobs.add(service["metadata"]["labels"][monitor["spec"]["jobLabel"]])
    assert jobs == {"gateway", "triton"}


def test_images_and_tritons_options_are_those_of_the_other_stack():
    for profile, values in (("cpu", {}), ("gpu", {"gpu": {"enabled": True}})):
        services = compose(profile)["services"]
        given = {each["name"]: each for each in containers(render(values))}
        suffix = "" if profile == "cpu" else "-gpu"
        assert given["gateway"]["image"] == services[f"gateway{suffix}"]["image"]
        assert given["triton"]["image"] == services[f"triton{suffix}"]["image"]
        assert given["triton"]["command"] == services[f"triton{suffix}"]["command"]
        if profile == "gpu":
            assert given["plans"]["image"] == services["tensorrt-build"]["image"]
            assert given["plans"]["command"] == services["tensorrt-build"]["command"]


def test_kserve_runs_the_gateway_as_the_chart_does():
    ours = container(render({"layout": "alone"}), "gateway")
    (service,) = [each for each in kserve_objects() if each["metadata"]["name"] == "sparsight"]
    pod = service["spec"]["predictor"]
    (theirs,) = pod["containers"]
    env = {each["name"]: each["value"] for each in theirs["env"]}
    assert env.pop("STORAGE_URI")
    assert env == {**ours.env, "SPARSIGHT_PORT": "8080", "SPARSIGHT_REPOSITORY": "/mnt/models"}
    assert theirs["command"] == ours.command
    for part in ("image", "lifecycle", "resources", "securityContext"):
        assert theirs[part] == ours.raw[part], part
    for part in ("startupProbe", "livenessProbe", "readinessProbe"):
        expected = copy.deepcopy(ours.raw[part])
        expected["httpGet"]["port"] = 8080
        assert theirs[part] == expected, part
    chart_pod = pod_specs(render({"layout": "alone"}))["gateway"]
    for part in ("enableServiceLinks", "automountServiceAccountToken", "terminationGracePeriodSeconds"):
        assert pod[part] == chart_pod[part], part


def test_kserves_triton_takes_the_options_of_the_chart():
    (runtime,) = of_kind(kserve_objects(), "ServingRuntime")
    (server,) = runtime["spec"]["containers"]
    ours = container(render(), "triton").raw
    changed = {"--model-repository=/models", "--model-control-mode=explicit", "--load-model=*"}
    assert set(ours["command"]) - set(server["command"]) == changed
    assert set(server["command"]) - set(ours["command"]) == {
        "--model-repository=/mnt/models", "--model-control-mode=none"
    }  # fmt: skip
    assert server["image"] == ours["image"]


# ---- scaling and rules ----


@pytest.mark.parametrize("name", ["keda", "hpa"])
def test_what_is_scaled_by_is_measured_by_the_gateway(name):
    from prometheus_client import CollectorRegistry, generate_latest

    from service.metrics import Metrics

    registry = CollectorRegistry()
    Metrics(registry)
    known = generate_latest(registry).decode()
    queries = scaling_queries(render(values_of(CHART / "ci" / f"{name}.yaml")))
    assert [each.metric for each in queries] == ["sparsight_scaling_inflight", "sparsight_scaling_waiting"]
    for each in queries:
        (series,) = re.findall(r"\b(sparsight_\w+)\{", each.query)
        assert series.removesuffix("_sum") in known
        assert f'namespace="{NAMESPACE}"' in each.query


def test_the_scaler_and_the_number_of_replicas_do_not_contradict_each_other(objects):
    scalers = [*of_kind(objects, "HorizontalPodAutoscaler"), *of_kind(objects, "ScaledObject")]
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in scalers}
    for each in of_kind(objects, "Deployment"):
        assert ("replicas" in each["spec"]) == (each["metadata"]["name"] not in scaled)
    assert scaled <= {each["metadata"]["name"] for each in of_kind(objects, "Deployment")}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("name", ["keda", "hpa"])
def test_promtool_takes_the_rules(name, tmp_path):
    (rules,) = of_kind(render(values_of(CHART / "ci" / f"{name}.yaml")), "PrometheusRule")
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(rules["spec"]))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path.write_text(path.read_text().replace("rate(", "ratte(", 1))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode != 0
