"""Dashboards and rules read only metric series that exist, and dashboards describe what they show."""

import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.expert_metrics import ExpertMetrics
from service.metrics import Metrics
from tests.dashboards import (
    DASHBOARDS,
    PROMETHEUS_FOLDER,
    alert_rules,
    dashboard_queries,
    filled_in,
    panels,
    recording_rules,
    series_in,
)

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS_OWN = {"up", "ALERTS"}
TRITON_CUSTOM = {
    "sparsight_triton_images_total",
    "sparsight_triton_detections_total",
    "sparsight_triton_expert_activations_total",
    "sparsight_triton_expert_gate_weight_total",
}
# From the server's documentation; tests/integration/monitoring holds the CPU ones against a real server.
TRITON_OWN = {
    "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count",
    "nv_inference_exec_count", "nv_inference_request_duration_us", "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us", "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us", "nv_inference_pending_request_count", "nv_cpu_utilization",
    "nv_cpu_memory_used_bytes", "nv_cpu_memory_total_bytes", "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage",
    "nv_pinned_memory_pool_used_bytes", "nv_pinned_memory_pool_total_bytes",
}  # fmt: skip
PANEL_TYPES = {"row", "timeseries", "stat", "barchart", "status-history", "state-timeline", "table"}
UNITS = {"none", "s", "µs", "bytes", "percentunit", "reqps", "ops"}
QUERIES = [pytest.param(query, id=query.place) for path in DASHBOARDS for query in dashboard_queries(path)]
ALL_RULES = (*alert_rules(), *recording_rules())
RULES = [pytest.param(rule, id=rule.get("alert") or rule["record"]) for rule in ALL_RULES]


def series_of_the_service():
    registry = CollectorRegistry()
    Metrics(registry)
    yield from names_in(registry)
    yield from expert_series()


def expert_series():
    registry = CollectorRegistry()
    ExpertMetrics(registry)
    return set(names_in(registry))


def names_in(registry):
    for family in registry.collect():
        match family.type:
            case "counter":
                yield f"{family.name}_total"
            case "histogram":
                yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
            case "summary":
                yield from (f"{family.name}_{part}" for part in ("sum", "count"))
            case _:
                yield family.name


RECORDED = {rule["record"] for rule in recording_rules()}
KNOWN = {*series_of_the_service(), *TRITON_CUSTOM, *TRITON_OWN, *PROMETHEUS_OWN, *RECORDED}


@pytest.fixture
def promtool():
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return path


def shown_on_dashboards():
    """Return the names of the series that dashboards read."""
    queries = (query for path in DASHBOARDS for query in dashboard_queries(path))
    return {name for query in queries for name in series_in(query.expression)}


def board(path):
    return json.loads(path.read_text())


# ---- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('sum by (code) (rate(a_total{route=~".*b_total.*"}[5m])) > 0 or vector(0)', {"a_total"}),
        ('x_sum / on (job, y) group_left (z) (x_count{a="}"} offset 1m) > 1e6', {"x_sum", "x_count"}),
        ("a_total / on (job) group_left sum by (job) (b_total)", {"a_total", "b_total"}),
        ('histogram_quantile(0.5, sum by (le) (rate(h_bucket[$__range]))) unless up', {"h_bucket", "up"}),
    ],
)  # fmt: skip
def test_the_names_in_a_query_are_found(expression, names):
    assert series_in(expression) == names


@pytest.mark.parametrize("query", QUERIES)
def test_dashboards_read_series_that_exist(query):
    names = series_in(query.expression)
    assert names
    assert names <= KNOWN


@pytest.mark.parametrize("rule", RULES)
def test_rules_read_series_that_exist(rule):
    names = series_in(rule["expr"])
    assert names
    assert names <= KNOWN


def test_every_recorded_series_is_read_by_an_alert_or_a_dashboard():
    recorded = {rule["record"] for rule in recording_rules()}
    read = {name for rule in alert_rules() for name in series_in(rule["expr"])} | shown_on_dashboards()
    assert recorded <= read


def test_every_series_of_the_service_is_on_a_dashboard_or_has_an_alert():
    read = shown_on_dashboards()
    read |= {name for rule in ALL_RULES for name in series_in(rule["expr"])}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in series_of_the_service()}
    assert families <= {re.sub("_(bucket|sum|count)$", "", name) for name in read}


def test_the_counters_of_triton_are_those_that_the_exported_models_count():
    exported = (ROOT / "model_repository").glob("*-nms/1/model.py")
    counted = {name for path in exported for name in re.findall(r"sparsight_triton_\w+", path.read_text())}
    assert counted == TRITON_CUSTOM


def test_every_query_of_a_dashboard_parses(promtool, tmp_path):
    rules = [
        {"record": f"query:{number}", "expr": filled_in(query.expression)}
        for number, query in enumerate(query for path in DASHBOARDS for query in dashboard_queries(path))
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_are_what_their_python_files_write(tmp_path):
    program = ROOT / "deploy" / "grafana" / "write_dashboards.py"
    subprocess.run([sys.executable, program, "--into", tmp_path], check=True)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in DASHBOARDS}


def test_the_first_dashboard_that_grafana_shows_exists():
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    first = Path(stack["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).name
    assert first in {path.name for path in DASHBOARDS}


def test_links_from_an_alert_lead_to_dashboards_and_to_prometheus():
    uids = {path.stem for path in DASHBOARDS}
    links = [
        link["url"]
        for path in DASHBOARDS
        for panel in panels(board(path))
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", ())
    ]
    assert links
    for url in links:
        assert url.startswith("${prometheus}/alerts") or url.removeprefix("/d/") in uids


# ---- the dashboards' form: Grafana itself is not here to read them -----------------------------------


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_addressed_by_its_file_name_and_cannot_be_edited(path):
    assert board(path)["uid"] == path.stem
    assert board(path)["id"] is None  # given by the Grafana that reads it
    assert board(path)["editable"] is False
    assert {variable["name"] for variable in board(path)["templating"]["list"]} >= {"datasource", "model"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_explain_themselves(path):
    for panel in panels(board(path)):
        assert panel["type"] in PANEL_TYPES
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_their_own_place(path):
    shown = panels(board(path))
    assert len({panel["id"] for panel in shown}) == len(shown)
    places = [(panel["title"], panel["gridPos"]) for panel in shown]
    for title, place in places:
        assert place["x"] + place["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        )  # fmt: skip
        assert apart, f"{one} lies on {other}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_variable_in_a_query_is_one_of_the_dashboard(path):
    variables = {variable["name"] for variable in board(path)["templating"]["list"]}
    for query in dashboard_queries(path):
        assert set(re.findall(r"\$(\w+)", query.expression)) <= variables | {"__rate_interval", "__range"}


def test_grafana_asks_the_prometheus_of_the_stack_as_often_as_it_scrapes():
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    scrape = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text())["global"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
