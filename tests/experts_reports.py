"""A report on what the experts of the tiny detector serve, for tests."""

from typing import Any


def tiny_report() -> dict[str, Any]:
    """Return what the experts of the tiny detector might serve, over ten images of two data sets."""
    by_layer = {
        "backbone.p4": {"day": (1.0, 0.5, 0.5, 0.0), "night": (0.0, 0.5, 0.5, 1.0)},
        "backbone.p5": {"day": (1.0, 1.0, 0.0), "night": (0.0, 1.0, 1.0)},
    }
    layers = [
        {
            "layer": layer,
            "expert_share": [0.6 * day + 0.4 * night for day, night in zip(*shares.values(), strict=True)],
            "shares": {"origin": [list(row) for row in shares.values()]},
        }
        for layer, shares in by_layer.items()
    ]
    groups = [{"label": "day", "images": 6}, {"label": "night", "images": 4}]
    return {
        "schema_version": 1,
        "data": "tiny val",
        "images": 10,
        "controls": {"top_k": 2, "weight_threshold": 0.0},
        "groupings": [{"name": "origin", "groups": groups}],
        "layers": layers,
    }
