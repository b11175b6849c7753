"""The Helm chart, rendered by the real Helm: clusters accept every object, and wrong values are refused."""

import copy
import json
import re

import pytest
import yaml

from deploy.helm.settings_schema import FROM_SECRETS, SCHEMA, settings_schema
from service.settings import Settings
from tests.chart import (
    CHART,
    CI_VALUES,
    container,
    kserve_objects,
    render,
    render_files,
    values_of,
)
from tests.contract.test_deploy import environment_names
from tests.helm import ChartRefused, ask_helm, why_no_helm
from tests.kubernetes_objects import VERSIONS, UnknownKind, find_problem

pytestmark = pytest.mark.skipif(why_no_helm() is not None, reason=str(why_no_helm()))

NEWER = {"alone": "1.34"}  # a volume from an image


def everything():
    return [each for path in CI_VALUES for each in render(values_of(path))]


def one_of_each_kind():
    return {each["kind"]: each for each in [*everything(), *kserve_objects()]}


# ---- Kubernetes takes the objects ----


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(rendered, version):
    name, given = rendered
    if tuple(map(int, version.split("."))) < tuple(map(int, NEWER.get(name, "1.0").split("."))):
        assert any(find_problem(each, version) for each in given), "it would work there, too"
        return
    assert [found for each in given if (found := find_problem(each, version))] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_and_kserve_take_the_files_for_kserve(version):
    assert [found for each in kserve_objects() if (found := find_problem(each, version))] == []


def test_an_object_of_an_unknown_kind_is_not_passed_over():
    with pytest.raises(UnknownKind):
        find_problem({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}, "1.34")


@pytest.mark.parametrize("kind", sorted(one_of_each_kind()) if why_no_helm() is None else ())
def test_a_mistyped_field_is_found_in_every_kind(kind):
    given = one_of_each_kind()[kind]
    assert find_problem(given, "1.37") is None
    part = next((name for name in ("spec", "data", "metadata") if name in given), None)
    for spoil in (
        lambda it: it.update(speck={}),
        lambda it: it["metadata"].update(labelz={}),
        lambda it: it["metadata"].update(name=5),
        lambda it: it[part].update(tollerations=[]),
    ):
        spoiled = copy.deepcopy(given)
        spoil(spoiled)
        if (
            part != "data" or "tollerations" not in spoiled[part]
        ):  # a ConfigMap's keys are free, not their type
            assert find_problem(spoiled, "1.37"), spoiled
    if part == "data":
        assert find_problem({**given, "data": {"key": 5}}, "1.37")


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda spec: spec["template"]["spec"]["containers"][0].update(cmd=["x"])),
        ("Deployment", lambda spec: spec["template"]["spec"]["containers"][0]["startupProbe"].update(x=1)),
        ("ScaledObject", lambda spec: spec["triggers"][0].update(metadata={"threshold": 3})),
        ("ScaledObject", lambda spec: spec["triggers"][0].update(kind="prometheus")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(annotation={})),
        ("ServiceMonitor", lambda spec: spec["endpoints"][0].update(intervall="5s")),
        ("NetworkPolicy", lambda spec: spec.update(policyTypes="Ingress")),
        ("HorizontalPodAutoscaler", lambda spec: spec["metrics"][0]["external"].update(goal={})),
        ("HTTPRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(port="80")),
        ("InferenceService", lambda spec: spec["predictor"].update(replicas=2)),
        ("ServingRuntime", lambda spec: spec["containers"][0].update(cmd=["x"])),
    ],
)  # fmt: skip
def test_a_mistake_deep_inside_is_found(kind, spoil):
    given = copy.deepcopy(one_of_each_kind()[kind])
    spoil(given["spec"])
    assert find_problem(given, "1.37")


# ---- values ----


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replicas": 2}, "replicas"),
        ({"gateway": {"replica": 2}}, "replica"),
        ({"gateway": {"replicas": "two"}}, "replicas"),
        ({"gateway": {"replicas": 0}}, "replicas"),
        ({"layout": "beside"}, "layout"),
        ({"gateway": {"settings": {"workerz": 2}}}, "workerz"),
        ({"gateway": {"settings": {"workers": "2"}}}, "workers"),
        ({"gateway": {"settings": {"workers": 257}}}, "workers"),
        ({"gateway": {"settings": {"triton": {"uri": "a:1"}}}}, "uri"),
        ({"gateway": {"settings": {"backends": []}}}, "backends"),
        ({"gateway": {"settings": {"admin_token": "in the open, for everybody"}}}, "admin_token"),
        ({"gateway": {"image": {"tag": "latest"}}}, "tag"),
        ({"gateway": {"resources": {"limit": {}}}}, "limit"),
        ({"autoscaling": {"inflight": 0}}, "inflight"),
        ({"networkPolicy": {"callers": []}}, "callers"),
        # What the schema cannot say:
        ({"gateway": {"tls": {"secret": "a", "clientCa": True}}}, "admin_port"),
        ({"layout": "alone", "gpu": {"enabled": True}}, "gpu.enabled"),
        ({"layout": "apart", "triton": {"sharedMemory": True}}, "sharedMemory"),
        ({"httpRoute": {"enabled": True}}, "parentRefs"),
        ({"autoscaling": {"kind": "hpa"}}, "monitoring.rules"),
        (
            {"gateway": {"access": {"secret": "keys"}}, "monitoring": {"serviceMonitor": True}},
            "monitoring.accessKey",
        ),
        ({"autoscaling": {"kind": "keda", "min": 9}}, "autoscaling.min"),
    ],
)
def test_wrong_values_are_refused_by_name(values, told):
    with pytest.raises(ChartRefused, match=re.escape(told)):
        render(values)


def test_every_value_has_a_schema_and_a_default():
    def keys(schema, defaults, path=""):
        for name, inner in schema.get("properties", {}).items():
            if name != "global":
                assert name in defaults, f"{path}.{name}"
                if isinstance(defaults[name], dict):
                    keys(inner, defaults[name], f"{path}.{name}")

    keys(json.loads(SCHEMA.read_text()), yaml.safe_load((CHART / "values.yaml").read_text()))


def test_the_schema_has_every_setting_of_the_service():
    assert json.loads(SCHEMA.read_text())["$defs"]["settings"] == settings_schema(), (
        "run python deploy/helm/settings_schema.py"
    )


def sample(schema):
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "string":
            return "https://a.example" if "pattern" not in schema else "triton.example:9001"
        case "boolean":
            return True
        case "array":
            return [sample(schema["items"])]
        case _:
            return max(schema.get("minimum", 1), 1)  # port 0 is none in a cluster


def test_every_setting_reaches_the_gateway():
    schema = settings_schema()["properties"]
    values = {
        name: {inner: sample(row) for inner, row in each["properties"].items()}
        if each["type"] == "object" else sample(each)
        for name, each in schema.items()
    }  # fmt: skip
    env = container(render({"gateway": {"settings": values}}), "gateway").env
    secret = {f"SPARSIGHT_{name.upper()}" for name in FROM_SECRETS}
    assert set(env) == set(environment_names()) - secret
    large = container(render({"gateway": {"settings": {"max_inflight_bytes": 10**9}}}), "gateway").env
    assert large["SPARSIGHT_MAX_INFLIGHT_BYTES"] == "1000000000"  # not 1e+09, which is no integer


def test_the_service_accepts_what_the_chart_gives_it(objects, monkeypatch):
    given = container(objects, "gateway").env
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.port == container(objects, "gateway").ports["http"]


def test_helm_lint_finds_nothing():
    for path in CI_VALUES:
        report = ask_helm("lint", CHART, values_of(path))
        serious = [each for each in report["messages"] if each["severity"] > 1]
        assert serious == [], path.stem
        assert not report["errors"], path.stem


def test_a_packaged_chart_is_complete(tmp_path):
    values = values_of(CHART / "ci" / "values-0.1.yaml")
    package = ask_helm("package", CHART, to=str(tmp_path))
    assert render(values, tmp_path / package) == render(values)


def test_the_notes_name_what_is_open():
    notes = render_files({"layout": "apart", "networkPolicy": {"enabled": False}})["NOTES.txt"]
    assert "unload models" in notes
    assert "gateway.access.secret names no keys" in notes
    assert "sparsight-models" in notes
