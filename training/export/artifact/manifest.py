"""manifest.json: everything a server must know, checked against the committed schema."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from training.config import PAD_VALUE, ModelConfig
from training.evaluate.baseline import Baseline
from training.evaluate.expert_use import is_static
from training.export.artifact.stored_manifest import check_manifest
from training.export.graph.export_graph import GraphSpec, Target
from training.export.graph.precision import Precision, Tolerance
from training.export.proof.golden import Golden
from training.export.proof.parity import Parity
from training.export.proof.selection import Speed
from training.files import sha256_of
from training.models.cost import Cost
from training.models.detector import Detector

DEFAULT_CONF, DEFAULT_IOU, DEFAULT_MAX_DET = 0.25, 0.7, 300


@dataclass(frozen=True)
class Provenance:
    """Where an artefact comes from, for the manifest."""

    checkpoint_sha256: str
    data: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    attribution: str = ""


@dataclass(frozen=True)
class Identity:
    """What an artefact is called."""

    name: str
    target: Target
    version: str


class Evidence(NamedTuple):
    """What was measured of an artefact."""

    golden: Golden
    parity: Parity
    cost: Cost
    baseline: Baseline | None  # None: routing was not measured
    speed: Speed | None  # None: sparse and dense were not timed


def build_manifest(
    identity: Identity,
    model: Detector,
    form: tuple[GraphSpec, Precision],
    evidence: Evidence,
    provenance: Provenance,
    files: Sequence[Path],
) -> dict[str, Any]:
    """The manifest of one artefact.

    Raises:
        ExportError: it does not satisfy the schema, which is a defect of the exporter or a bad model name.
    """
    (spec, precision), (golden, parity, cost, baseline, speed) = form, evidence
    height, width = model.config.input_hw
    config = model.config
    has_mixture = bool(config.mixtures)
    manifest = {
        "schema_version": 1,
        **asdict(identity),
        "variant": model.config.variant,
        "task": "detect",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {path.name: sha256_of(path) for path in files},
        "precision": precision,
        "execution": spec.execution,
        "routing": "static" if baseline and is_static(list(baseline.uses)) else "normal",
        "input": {
            "name": "images",
            "height": height,
            "width": width,
            "batch": list(spec.batches),
            "resize": {"mode": "letterbox", "pad_value": PAD_VALUE, "interpolation": "bilinear"},
        },
        "controls": _controls(config, spec),
        "outputs": {"selection": spec.selection, "candidates": spec.candidates},
        "class_names": list(model.config.class_names),
        "defaults": {"conf": DEFAULT_CONF, "iou": DEFAULT_IOU, "max_det": DEFAULT_MAX_DET},
        "mixture": _mixture_rows(cost, baseline),
        "baseline": {"data": baseline.data, "images": baseline.images} if baseline and has_mixture else None,
        "gflops": {"fixed": cost.fixed, "dense": cost.dense},
        "golden": {
            "top_k": config.top_k if has_mixture else None,
            "weight_threshold": config.weight_threshold if has_mixture else None,
            "conf": golden.conf,
            "router_margin": golden.router_margin,
            "tolerance": _replay_tolerance(parity.tolerance),
        },
        "parity": _parity(parity),
        "speed": asdict(speed) if speed else None,
        "provenance": asdict(provenance),
    }
    check_manifest(manifest, f"{identity.name}-{identity.target}")
    return manifest


def _replay_tolerance(tolerance: Tolerance) -> dict[str, float]:
    """What holds for one picture, without what holds for many."""
    names = ("boxes_px", "boxes_relative", "scores", "gates", "input_levels")
    return {name: getattr(tolerance, name) for name in names}


def _parity(parity: Parity) -> dict[str, Any]:
    every = asdict(parity)
    return {name: value for name, value in every.items() if name not in ("boxes_excess_px", "tolerance")}


def _controls(config: ModelConfig, spec: GraphSpec) -> dict[str, Any]:
    if not config.mixtures:
        return {"top_k": None, "weight_threshold": None}
    return {
        "top_k": {"allowed": list(spec.top_ks(config)), "default": config.top_k},
        "weight_threshold": {"default": config.weight_threshold},
    }


def _mixture_rows(cost: Cost, baseline: Baseline | None) -> list[dict[str, Any]]:
    rows = []
    for row, (layer, gflops) in enumerate(cost.experts.items()):
        rows.append(
            {
                "layer": layer,
                "row": row,
                "num_experts": len(gflops),
                "expert_gflops": list(gflops),
                **_measured_routing(layer, baseline),
            }
        )
    return rows


def _measured_routing(layer: str, baseline: Baseline | None) -> dict[str, Any]:
    use = next((use for use in baseline.uses if use.layer == layer), None) if baseline else None
    if baseline is None or use is None:
        names = ("information_bits", "expert_share", "distinct_sets", "commonest_set_share", "nmi")
        return dict.fromkeys(names)
    return {
        "information_bits": use.information_bits,
        "expert_share": list(use.expert_share),
        "distinct_sets": use.distinct_sets,
        "commonest_set_share": use.commonest_set_share,
        "nmi": {grouping: baseline.nmi[layer].get(grouping) for grouping in ("origin", "density")},
    }
