"""Describe panels in Python, and write them as the JSON that Grafana reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal

Kind = Literal["stat", "timeseries", "barchart", "status-history", "state-timeline", "table"]
Json = dict[str, Any]

WIDTH = 24  # of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
INSTANT = ("stat", "barchart", "table")
_HEIGHTS = {"stat": 4, "barchart": 9, "status-history": 12}
_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


@dataclass(frozen=True)
class Panel:
    """One panel: what it asks Prometheus, and how it shows the answer."""

    title: str
    description: str
    queries: Mapping[str, str]  # expression by legend; {{label}} in a legend is the value of that label
    kind: Kind = "timeseries"
    unit: str = "none"
    width: int = 8
    height: int = 0  # 0: as usual for the kind
    steps: Sequence[tuple[str, float | None]] = (("green", None),)  # colour from a value on; None: lowest
    states: Mapping[int, tuple[str, str]] = field(default_factory=dict)  # text and colour by value
    maximum: float | None = None
    decimals: int | None = None
    stacked: bool = False
    logarithmic: bool = False
    repeat: str = ""  # variable: one panel for each of its values
    bars_by: str = "expert"  # label of the bars in a bar chart
    columns: Sequence[str] = ()  # labels that a table shows
    links: Sequence[tuple[str, str]] = ()  # title and URL of links in a table


@dataclass(frozen=True)
class Row:
    """A row of a dashboard: a title, and panels from left to right, wrapped like words."""

    title: str
    panels: Sequence[Panel]


def row_panels(rows: Sequence[Row]) -> list[Json]:
    """Return the panels of all rows, each with its id and its place."""
    written: list[Json] = []
    y = 0
    for row in rows:
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        written.append({"id": len(written) + 1, "type": "row", "title": row.title, "collapsed": False,
                        "gridPos": place, "panels": []})  # fmt: skip
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            height = panel.height or _HEIGHTS.get(panel.kind, 8)
            if x + panel.width > WIDTH:
                y, x, tallest = y + tallest, 0, 0
            place = {"h": height, "w": panel.width, "x": x, "y": y}
            written.append({"id": len(written) + 1, "gridPos": place, **_write(panel)})
            x, tallest = x + panel.width, max(tallest, height)
        y += tallest
    return written


def _write(panel: Panel) -> Json:
    written: Json = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            _target(panel, letter, *query)
            for letter, query in zip(ascii_uppercase, panel.queries.items(), strict=False)
        ],
    }
    if panel.repeat:
        written |= {"repeat": panel.repeat, "repeatDirection": "h", "maxPerRow": 6}
    if panel.kind == "status-history":
        written["maxDataPoints"] = 60
    if transformations := _transformations(panel):
        written["transformations"] = transformations
    return written


def _target(panel: Panel, letter: str, legend: str, expression: str) -> Json:
    instant = panel.kind in INSTANT
    table = {"format": "table"} if panel.kind in ("barchart", "table") else {}
    legend = "" if table else legend
    return {"refId": letter, "datasource": SOURCE, "expr": expression, "legendFormat": legend,
            "editorMode": "code", "instant": instant, "range": not instant, **table}  # fmt: skip


def _defaults(panel: Panel) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "mappings": [_mapping(panel.states)] if panel.states else [],
        "color": {"mode": "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in panel.steps]},
    }
    match panel.kind:
        case "stat":
            defaults["color"] = {"mode": "thresholds"}
        case "timeseries":
            stacking = {"group": "A", "mode": "normal" if panel.stacked else "none"}
            scale = {"type": "log", "log": 10} if panel.logarithmic else {"type": "linear"}
            defaults["custom"] = {
                "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "spanNulls": False,
                "fillOpacity": 30 if panel.stacked else 8, "showPoints": "never", "stacking": stacking,
                "axisPlacement": "auto", "axisLabel": "", "scaleDistribution": scale,
            }  # fmt: skip
            if not panel.logarithmic:
                defaults["min"] = 0
        case "barchart":
            defaults |= {"min": 0, "custom": {"fillOpacity": 80, "lineWidth": 0, "axisPlacement": "auto"}}
        case "status-history":
            defaults |= {"min": 0, "color": {"mode": "continuous-blues"}}
            defaults["custom"] = {"fillOpacity": 85, "lineWidth": 1}
        case "state-timeline":
            defaults["color"] = {"mode": "fixed", "fixedColor": "text"}
            defaults["custom"] = {"fillOpacity": 70, "lineWidth": 0}
        case "table":
            defaults["color"] = {"mode": "fixed", "fixedColor": "text"}
            defaults["custom"] = {"align": "left", "cellOptions": {"type": "auto"}, "filterable": False}
            links = [{"title": title, "url": url, "targetBlank": True} for title, url in panel.links]
            defaults["links"] = links
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    return defaults


def _mapping(states: Mapping[int, tuple[str, str]]) -> Json:
    options = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(states.items())
    }
    return {"type": "value", "options": options}


def _options(panel: Panel) -> Json:
    match panel.kind:
        case "stat":
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto",
                "orientation": "auto", "percentChangeColorMode": "standard", "showPercentChange": False,
                "wideLayout": True,
            }  # fmt: skip
        case "timeseries":
            return {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "barchart":
            return {
                "xField": panel.bars_by, "orientation": "horizontal", "showValue": "always",
                "stacking": "none", "barWidth": 0.9, "groupWidth": 0.75, "xTickLabelRotation": 0,
                "xTickLabelMaxLength": 0, "fullHighlight": False, "legend": _LEGEND,
                "tooltip": {"mode": "multi", "sort": "none"},
            }  # fmt: skip
        case "status-history":
            return {
                "showValue": "auto", "rowHeight": 0.9, "colWidth": 0.95,
                "legend": {**_LEGEND, "showLegend": False}, "tooltip": {"mode": "single", "sort": "none"},
            }  # fmt: skip
        case "state-timeline":
            return {
                "showValue": "never", "mergeValues": True, "rowHeight": 0.8, "alignValue": "left",
                "legend": _LEGEND, "tooltip": {"mode": "single", "sort": "none"},
            }  # fmt: skip
        case "table":
            return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"]}}


def _transformations(panel: Panel) -> list[Json]:
    values = [f"Value #{letter}" for letter, _ in zip(ascii_uppercase, panel.queries, strict=False)]
    match panel.kind:
        case "barchart":
            hidden = dict.fromkeys(("Time", "Time 1", "Time 2"), True)
            return [
                {"id": "joinByField", "options": {"byField": panel.bars_by, "mode": "outer"}},
                {"id": "organize", "options": {
                    "excludeByName": hidden,
                    "indexByName": {name: n for n, name in enumerate([panel.bars_by, *values])},
                    "renameByName": dict(zip(values, panel.queries, strict=True)),
                }},
                {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": panel.bars_by,
              "desc": False}]}},
            ]  # fmt: skip
        case "table":
            shown = {"include": {"names": list(panel.columns)}}
            return [{"id": "filterFieldsByName", "options": shown}]
    return []
