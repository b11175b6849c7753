"""Reads the queries of dashboards and alert rules, and the names of the Prometheus series in a query."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROMETHEUS_FOLDER = DEPLOY / "prometheus"

_LABEL_LISTS = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
_NOT_A_SERIES = {"and", "or", "unless", "offset", "bool", "inf", "nan", "group_left", "group_right"}
_IN_A_VARIABLE = re.compile(r"label_values\((?P<series>.*), \w+\)")


@dataclass(frozen=True)
class Query:
    """One query of a dashboard."""

    place: str  # "sparsight: Latency"
    expression: str
    instant: bool


def dashboard_queries(path: Path) -> list[Query]:
    """Return every query of a dashboard: those of panels, variables and annotations."""
    board = json.loads(path.read_text())
    queries = [
        Query(f"{path.stem}: {panel['title']}", target["expr"], target["instant"])
        for panel in panels(board)
        for target in panel.get("targets", ())
    ]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            match = _IN_A_VARIABLE.fullmatch(variable["query"]["query"])
            assert match, variable
            queries.append(Query(f"{path.stem}: ${variable['name']}", match["series"], instant=True))
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            queries.append(Query(f"{path.stem}: {annotation['name']}", annotation["expr"], instant=False))
    return queries


def panels(board: dict) -> list[dict]:
    """Return every panel of a dashboard, including those in collapsed rows."""
    return [inner for panel in board["panels"] for inner in (panel, *panel.get("panels", ()))]


def alert_rules() -> list[dict]:
    """Return all alert rules of the project."""
    return _rules("alerts.yml")


def recording_rules() -> list[dict]:
    """Return all rules of the project that record a series."""
    return _rules("rules.yml")


def _rules(name: str) -> list[dict]:
    groups = yaml.safe_load((PROMETHEUS_FOLDER / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def filled_in(expression: str, *, interval: str = "1m", span: str = "", **values: str) -> str:
    """Return a query with values in place of the dashboard's variables, as Grafana fills them in."""
    chosen = {"__rate_interval": interval, "__range": span or interval, "model": "tiny", "layer": ".+",
              "before": "1", "after": "1", **values}  # fmt: skip
    for name, value in chosen.items():
        expression = re.sub(rf"\${name}\b", value, expression)
    assert "$" not in expression, expression
    return expression


def series_in(expression: str) -> set[str]:
    """Return the names of the series that a query reads."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(_LABEL_LISTS, " ", bare)
    names = re.findall(r"(?<![\w.:$])[a-zA-Z_:][\w:]*(?!\w|\s*\()", bare)
    return {name for name in names if name.lower() not in _NOT_A_SERIES}
