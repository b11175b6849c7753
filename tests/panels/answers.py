"""Ask Prometheus what each panel of a dashboard shows."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.dashboards import filled_in

Json = dict[str, Any]
Ask = Callable[..., Json]  # path and parameters of Prometheus' API, to the data of the answer
_MAX_PER_ROW = 6


@dataclass(frozen=True)
class Period:
    """The time range of a dashboard, in seconds since 1970."""

    start: float
    end: float
    interval: str  # for $__rate_interval

    @property
    def step(self) -> float:
        """Return the seconds between two points."""
        return max(1.0, (self.end - self.start) / 150)


@dataclass(frozen=True)
class Line:
    """One series of a panel: its legend, and its points or its only value."""

    legend: str
    labels: Mapping[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Shown:
    """A panel with its place in the grid, and what it shows."""

    panel: Json
    title: str
    x: float
    y: float
    width: float
    height: int
    lines: list[list[Line]] = field(default_factory=list)  # by target


def rows_of(board: Json) -> Iterator[tuple[str, list[Json]]]:
    """Yield the title and the panels of each row."""
    title, inside = "", []
    for panel in board["panels"]:
        if panel["type"] == "row":
            if inside:
                yield title, inside
            title, inside = panel["title"], []
        else:
            inside.append(panel)
    yield title, inside


def show(
    panels: list[Json], variables: Mapping[str, str], layers: list[str], period: Period, ask: Ask
) -> list[Shown]:
    """Return the panels of one row with what they show, and with one panel for each value of a repeat."""
    shown, top, moved = [], min(panel["gridPos"]["y"] for panel in panels), 0
    for panel in panels:
        place = panel["gridPos"]
        y = place["y"] - top + moved
        if not panel.get("repeat"):
            lines = _lines(panel, variables, period, ask)
            title = filled_title(panel["title"], variables)
            shown.append(Shown(panel, title, place["x"], y, place["w"], place["h"], lines))
            continue
        columns = min(_MAX_PER_ROW, len(layers))
        for number, layer in enumerate(layers):
            row, column = divmod(number, columns)
            width = place["w"] / columns
            values = {**variables, "layer": layer}
            shown.append(
                Shown(panel, filled_title(panel["title"], values), column * width,
                      y + row * place["h"], width, place["h"], _lines(panel, values, period, ask))
            )  # fmt: skip
        moved += (len(layers) - 1) // columns * place["h"]
    return shown


def filled_title(title: str, variables: Mapping[str, str]) -> str:
    """Return a title with values in place of variables."""
    return re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), title)


def _lines(panel: Json, variables: Mapping[str, str], period: Period, ask: Ask) -> list[list[Line]]:
    found = []
    for target in panel["targets"]:
        span = f"{round(period.end - period.start)}s"
        expression = filled_in(target["expr"], interval=period.interval, span=span, **variables)
        if target["instant"]:
            series = ask("query", query=expression, time=period.end)["result"]
            points = [[one["value"]] for one in series]
        else:
            series = ask("query_range", query=expression, start=period.start, end=period.end,
                         step=period.step)["result"]  # fmt: skip
            points = [one["values"] for one in series]
        legend = filled_title(target["legendFormat"], variables)
        found.append([
            Line(_named(legend, one["metric"]), one["metric"], [(float(t), float(v)) for t, v in values])
            for one, values in zip(series, points, strict=True)
        ])  # fmt: skip
    return found


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)
