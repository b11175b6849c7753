"""The dashboard that compares two versions of a model that are or were served."""

from collections.abc import Callable
from typing import Any

from dashboards import LAYER, MODEL, VERSION, choice, dashboard
from panels import Panel, Row
from queries import WINDOW, increase, maximum, quantile, rate

SIDES = ("before", "after")
LEGEND = {side: f"{side}: ${side}" for side in SIDES}
BLUE = (("blue", None),)
TIME = "sparsight_image_duration_seconds"
DRIFTS = {0: ("as at export", "green"), 1: ("drifts", "orange")}


def releases_dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    variables = [
        choice("model", "Model", MODEL),
        choice("before", "Before", VERSION),
        choice("after", "After", VERSION, newest_first=True),
        choice("layer", "Layer", LAYER, many=True),
    ]
    return dashboard(
        "sparsight-releases", "Sparsight: releases",
        "Two versions of a model, side by side: speed, detections, experts.",
        (what(), at_a_glance(), over_time(), experts()), variables,
    )  # fmt: skip


def of(side: str, *more: str) -> str:
    """Return the labels of one version."""
    return ",".join(('model="$model"', f'version="${side}"', *more))


def time_of_image(share: str, side: str, window: str = WINDOW) -> str:
    """Return a quantile of the time of an image of one version."""
    return quantile(share, TIME, labels=of(side), window=window)


def detections(side: str, window: str = WINDOW) -> str:
    """Return the mean number of detections of one version."""
    found, images = (
        rate(series, labels=of(side), window=window)
        for series in ("sparsight_detections_total", f"{TIME}_count")
    )
    return f"{found} / ({images} > 0)"


def share(side: str) -> str:
    """Return the share of the images of one version that chose each expert."""
    labels = of(side, 'layer=~"$layer"')
    chosen = increase("sparsight_expert_activations_total", "expert", labels)
    weight = increase("sparsight_expert_gate_weight_total", labels=labels)
    return f"{chosen} / on () group_left () ({weight} > 0)"


def what() -> Row:
    """Return which versions there are."""
    served = "sparsight_model_info"
    return Row("Versions of $model", [
        Panel("Versions served now", "routing names how the experts were trained.",
              {"": maximum(served, "version, sha256, routing, instance", 'model="$model"')},
              "table", width=12, height=6, columns=("version", "sha256", "routing", "instance")),
        Panel("Who answers", "Images in a second by version and backend; a new version takes over step by "
              "step.",
              {"{{version}} on {{backend}}": rate(f"{TIME}_count", "version, backend", 'model="$model"')},
              unit="ops", width=12, height=6, stacked=True),
    ])  # fmt: skip


def at_a_glance() -> Row:
    """Return the same figures of both versions, over the whole time range."""
    span = "$__range"

    def pair(
        title: str, make: Callable[[str], str], unit: str = "none", decimals: int | None = None
    ) -> list[Panel]:
        text = "Over the whole time range, so both versions can have answered at different times."
        return [
            Panel(f"{title}: ${side}", text, {"": make(side)}, "stat", unit, 6, steps=BLUE, decimals=decimals)
            for side in SIDES
        ]

    return Row("In the whole time range: $before and $after", [
        *pair("Median time of an image", lambda side: time_of_image("0.5", side, span), "s"),
        *pair("Slowest 5 %", lambda side: time_of_image("0.95", side, span), "s"),
        *pair("Detections of an image", lambda side: detections(side, span), decimals=2),
        *pair("Images answered", lambda side: increase(f"{TIME}_count", labels=of(side)), decimals=0),
    ])  # fmt: skip


def over_time() -> Row:
    """Return both versions over time."""
    return Row("Over time: $before and $after", [
        Panel("Median time of an image", "From decode to postprocess.",
              {LEGEND[side]: time_of_image("0.5", side) for side in SIDES}, unit="s"),
        Panel("Slowest 5 % of the images", "One image in twenty takes longer.",
              {LEGEND[side]: time_of_image("0.95", side) for side in SIDES}, unit="s"),
        Panel("Detections of an image", "Compare them only over like images.",
              {LEGEND[side]: detections(side) for side in SIDES}),
    ])  # fmt: skip


def experts() -> Row:
    """Return how often both versions choose each expert."""
    drifting = {LEGEND[side]: maximum("sparsight_routing_drifting", labels=of(side)) for side in SIDES}
    bits = {
        f"{LEGEND[side]}, {{{{layer}}}}": maximum("sparsight_routing_drift_bits", "layer", of(side))
        for side in SIDES
    }
    return Row("Experts of $before and $after", [
        Panel("Share of images: $layer",
              "For each expert, the share of images that chose it, by version. If a version was trained "
              "anew, "
              "its expert 2 need not do what expert 2 did before.",
              {side: share(side) for side in SIDES}, "barchart", "percentunit", 24, maximum=1, decimals=0,
              repeat="layer"),
        Panel("Drift", "Each version is compared with its own export.", drifting, "state-timeline", width=12,
              states=DRIFTS),
        Panel("Divergence from its own baseline", "In bits, by layer.", bits, width=12),
    ])  # fmt: skip
