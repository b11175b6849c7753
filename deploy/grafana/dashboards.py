"""Build a dashboard from rows of panels, with its variables and links."""

from collections.abc import Sequence
from typing import Any

from panels import SOURCE, Row, row_panels

Json = dict[str, Any]

MODEL = "label_values(sparsight_model_info, model)"
LAYER = 'label_values(sparsight_expert_activations_total{model="$model"}, layer)'
VERSION = 'label_values(sparsight_model_info{model="$model"}, version)'
DATA_SOURCE = {
    "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
    "regex": "", "hide": 0, "multi": False, "includeAll": False, "options": [], "skipUrlSync": False,
}  # fmt: skip


def choice(name: str, label: str, query: str, *, many: bool = False, newest_first: bool = False) -> Json:
    """Return a variable whose values come from Prometheus; with `many`, all of them are chosen at first."""
    sort = 4 if newest_first else 3 if name in ("before", "after") else 1  # 3, 4: as numbers, up or down
    variable = {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2, "sort": sort, "multi": many, "includeAll": many, "hide": 0, "regex": "",
        "skipUrlSync": False, "options": [],
    }  # fmt: skip
    return {**variable, "current": {"text": ["All"], "value": ["$__all"]}} if many else variable


def typed(name: str, label: str, value: str) -> Json:
    """Return a variable that the reader types."""
    current = {"text": value, "value": value, "selected": True}
    return {"name": name, "label": label, "type": "textbox", "query": value, "current": current,
            "options": [current], "hide": 0, "skipUrlSync": False}  # fmt: skip


def dashboard(uid: str, title: str, description: str, rows: Sequence[Row], variables: Sequence[Json]) -> Json:
    """Return a dashboard as Grafana reads it; a mark shows when a version of a model was first served."""
    return {
        "uid": uid, "title": title, "description": description, "tags": ["sparsight"], "schemaVersion": 41,
        "version": 1, "id": None, "editable": False, "graphTooltip": 1, "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "timepicker": {},
        "links": [_LINKS], "fiscalYearStartMonth": 0, "liveNow": False, "weekStart": "",
        "annotations": {"list": [_GRAFANAS_OWN, _NEW_VERSIONS]},
        "templating": {"list": [DATA_SOURCE, *variables]},
        "panels": row_panels(rows),
    }  # fmt: skip


_LINKS = {
    "title": "Sparsight", "type": "dashboards", "tags": ["sparsight"], "asDropdown": False, "icon": "",
    "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": "",
}  # fmt: skip
_GRAFANAS_OWN = {
    "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
}  # fmt: skip
_SERVED = "sum by (model, version) (sparsight_model_info"
_NEW_VERSIONS = {
    "datasource": SOURCE, "enable": True, "expr": f"{_SERVED}) unless {_SERVED} offset 1m)",
    "iconColor": "blue", "name": "New versions", "step": "60s",
    "titleFormat": "{{model}} {{version}} is served", "hide": False,
}  # fmt: skip
