"""Manifests of version 1, as earlier exporters wrote them."""

import copy


def of_version_1(document):
    """Return a detector's manifest of version 2 as a manifest of version 1."""
    new = copy.deepcopy(document)
    images, *controls = new.pop("inputs")
    _, height, width, _ = images["dims"]
    defaults = {row["name"]: row for row in controls}
    tolerance = {row["role"]: row["tolerance"] for row in new.pop("outputs")}
    settings, golden, parity = new.pop("task_settings"), new.pop("golden"), new.pop("parity")
    differences = parity.pop("differences")
    metric = parity.pop("metric", None)
    top_k, threshold = (defaults.get(name) for name in ("top_k", "weight_threshold"))
    batch = new.pop("batch")
    del new["graphs"]
    new.pop("experts_report", None)  # earlier exporters wrote no report, and did not store single images
    (new.get("baseline") or {}).pop("routing", None)
    gates = {"absolute": 0.0}
    boxes = tolerance["boxes_xyxy"]
    scores = tolerance["scores" if "scores" in tolerance else "class_scores"]
    return {
        **new,
        "schema_version": 1,
        "input": {
            "name": images["name"],
            "height": height,
            "width": width,
            "batch": batch,
            "resize": images["resize"],
        },
        "controls": {
            "top_k": top_k and {"allowed": top_k["allowed"], "default": top_k["default"]},
            "weight_threshold": threshold and {"default": threshold["default"]},
        },
        "outputs": {key: settings[key] for key in ("selection", "candidates")},
        "defaults": settings["defaults"],
        "golden": {
            "top_k": golden["controls"].get("top_k"),
            "weight_threshold": golden["controls"].get("weight_threshold"),
            "conf": golden["params"]["conf"],
            "router_margin": golden["router_margin"],
            "tolerance": {
                "input_levels": golden["input_levels"],
                "boxes_px": boxes["absolute"],
                "boxes_relative": boxes["relative"],
                "scores": scores["absolute"],
                "gates": tolerance.get("gates", gates)["absolute"],
            },
        },
        "parity": {
            **parity,
            "boxes_px": differences["boxes"],
            "scores": differences["scores" if "scores" in differences else "class_scores"],
            "gates": differences.get("gates", 0.0),
            "map50_95": metric and {key: metric[key] for key in ("checkpoint", "graph")},
        },
    }
