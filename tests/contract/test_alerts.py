"""Alerts fire when they should, say what to do, and reach the right receiver."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.dashboards import PROMETHEUS_FOLDER, alert_rules

ROOT = Path(__file__).resolve().parents[2]
RULES = [pytest.param(rule, id=rule["alert"]) for rule in alert_rules()]
NAMES = {rule["alert"] for rule in alert_rules()}
TESTS = yaml.safe_load((PROMETHEUS_FOLDER / "alerts_test.yml").read_text())["tests"]


@pytest.fixture
def promtool():
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return path


@pytest.fixture
def amtool():
    path = shutil.which("amtool")
    if path is None:
        pytest.skip("amtool is not installed (Debian: apt-get install prometheus-alertmanager)")
    return path


def run(*command):
    done = subprocess.run(command, cwd=PROMETHEUS_FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fired():
    """Yield the labels of every alert that a case of alerts_test.yml expects to fire."""
    for test in TESTS:
        for case in test["promql_expr_test"]:
            for sample in case["exp_samples"]:
                yield dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))


def anchors(page):
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


# ---- each alert ----


@pytest.mark.parametrize("rule", RULES)
def test_an_alert_says_how_bad_it_is_whose_it_is_and_what_to_do(rule):
    assert rule["for"]
    assert set(rule["labels"]) == {"severity", "owner"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["labels"]["owner"] in {"operator", "modeller"}
    assert set(rule["annotations"]) == {"summary", "runbook", "page"}
    for annotation in ("summary", "runbook"):
        assert rule["annotations"][annotation].endswith((".", "}}"))


@pytest.mark.parametrize("rule", RULES)
def test_the_page_of_an_alert_exists_and_so_does_what_its_runbook_names(rule):
    path, _, anchor = rule["annotations"]["page"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(ROOT / path)
    runbook = rule["annotations"]["runbook"]
    for path in re.findall(r"[\w/]+\.md", runbook):
        assert (ROOT / path).is_file()
    for other in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", runbook):
        assert other in NAMES | {"NaN"} or other.isupper(), other


def test_the_page_has_a_heading_for_no_other_alert():
    page = (PROMETHEUS_FOLDER / "README.md").read_text()
    assert set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == NAMES


def test_every_alert_fires_in_a_case_and_is_silent_in_another():
    assert {labels["alertname"] for labels in fired()} == NAMES
    for name in NAMES:
        assert any(
            name not in str(case["exp_samples"]) for test in TESTS for case in test["promql_expr_test"]
        )


@pytest.mark.parametrize("rule", RULES)
def test_an_alert_has_the_labels_that_its_sentences_name(rule):
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) - {"job", "owner", "severity"}
    for labels in fired():
        if labels["alertname"] == rule["alert"]:
            assert named <= set(labels)


def test_alerts_fire_when_they_should(promtool):
    run(promtool, "test", "rules", "alerts_test.yml")


def test_the_configuration_of_prometheus_is_valid(promtool):
    run(promtool, "check", "config", "prometheus.yml")


def test_no_rule_leans_on_absent_at_the_edge_of_five_minutes():
    for rule in alert_rules():  # Prometheus 2 and 3 differ there
        assert "absent" not in rule["expr"]


# ---- who gets it ----


def config():
    return yaml.safe_load((PROMETHEUS_FOLDER / "alertmanager.yml").read_text())


def test_the_configuration_of_alertmanager_is_valid(amtool):
    assert "SUCCESS" in run(amtool, "check-config", "alertmanager.yml")


@pytest.mark.parametrize("rule", RULES)
def test_critical_alerts_wake_somebody_and_the_model_s_go_to_its_owner(amtool, rule):
    labels = [f"{name}={value}" for name, value in rule["labels"].items()]
    told = run(amtool, "config", "routes", "test", "--config.file=alertmanager.yml", *labels).strip()
    critical, owner = rule["labels"]["severity"] == "critical", rule["labels"]["owner"]
    assert told == ("on-call" if critical else f"{owner}s")


def test_what_silences_and_what_is_silenced_are_alerts_of_the_project():
    for rule in config()["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            name, _, values = re.fullmatch(r'(\w+) (=|!=|=~) "?([^"]+)"?', matcher).groups()
            if name == "alertname":
                assert set(values.split("|")) <= NAMES, matcher


def test_no_alert_silences_itself():
    for rule in config()["inhibit_rules"]:
        (source,) = [each.split(" = ")[1] for each in rule["source_matchers"]]
        silenced = [each for each in rule["target_matchers"] if each.startswith("alertname")]
        assert silenced == [f"alertname != {source}"] or source not in re.split(r"\W+", silenced[0])


def test_what_is_silenced_shares_the_labels_that_must_be_equal():
    labels = {}
    for each in fired():
        labels.setdefault(each["alertname"], {"job"}).update(each)
    for rule in config()["inhibit_rules"]:
        (source,) = [each.split(" = ")[1] for each in rule["source_matchers"]]
        assert set(rule.get("equal", ())) <= labels[source], rule


def test_the_receivers_are_empty_so_nothing_leaves_the_machine_unasked():
    assert [set(receiver) for receiver in config()["receivers"]] == [{"name"}] * 3


def test_prometheus_sends_to_the_alertmanager_of_the_stack():
    prometheus = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text())
    (target,) = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert target == "alertmanager:9093"
    assert "alertmanager" in services
    assert "alertmanager" in {job["job_name"] for job in prometheus["scrape_configs"]}
