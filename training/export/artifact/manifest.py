"""Build the manifest of an artifact, and check it against the schema in the model repository."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from training.evaluate.baseline import Baseline
from training.evaluate.expert_use import is_static
from training.export.artifact.experts_file import EXPERTS_FILE
from training.export.artifact.routing_file import RoutingFile
from training.export.artifact.stored_manifest import check_manifest
from training.export.contract.precision import Precision
from training.export.contract.spec import GraphSpec, TargetName
from training.export.contract.tensors import CONTROL, GraphContract
from training.export.graph.export_graph import graph_contract
from training.export.graph.shared_weights import WEIGHTS_FILE
from training.export.proof.defaults import Choice
from training.export.proof.golden import Golden
from training.export.proof.parity import Parity
from training.export.proof.selection import Speed
from training.export.tasks.tasks import export_task
from training.files import sha256_of
from training.models.cost import Cost
from training.models.network import Network

GRAPH_SUFFIXES = (".xml", ".onnx")


@dataclass(frozen=True)
class Provenance:
    """The checkpoint, the training data and the credits of an artifact, for its manifest."""

    checkpoint_sha256: str
    data: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    attribution: str = ""
    checkpoint: str = ""  # the checkpoint's epoch, and its score if validation chose it


@dataclass(frozen=True)
class Identity:
    """The name, the target and the version of an artifact."""

    name: str
    target: TargetName
    version: str


class Evidence(NamedTuple):
    """The results of measurements on an artifact, for its manifest."""

    golden: Golden
    parity: Parity
    cost: Cost
    baseline: Baseline | None  # None: routing was not measured
    speed: Speed | None  # None: sparse and dense were not timed
    proved: bool = True  # False: the model was too little trained for the comparison to prove anything
    choice: Choice | None = None  # of the controls' defaults; None: nothing to tell
    routing: RoutingFile | None = None  # for servers to compare with; None: not measured
    paths: Mapping[str, Any] | None = None  # entry of the manifest; None: the model has no paths


def build_manifest(
    identity: Identity,
    model: Network,
    form: tuple[GraphSpec, Precision],
    evidence: Evidence,
    provenance: Provenance,
    files: Sequence[Path],
) -> dict[str, Any]:
    """Return the manifest of one artifact.

    Raises:
        ExportError: the manifest does not satisfy the schema; either the model's name is invalid, or the
            exporter has a defect.
    """
    (spec, precision), (golden, parity, cost, baseline, speed, proved, choice, *_) = form, evidence
    config, task = model.config, export_task(model.config)
    contract = graph_contract(config, spec, parity.tolerance)
    controls = {each.name: each.facts["default"] for each in contract.inputs if each.role == CONTROL}
    manifest = {
        "schema_version": 2,
        **asdict(identity),
        "variant": config.variant,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {path.name: sha256_of(path) for path in files},
        "graphs": _graphs(files, evidence.paths),
        "precision": precision,
        "execution": spec.execution,
        "routing": _routing_kind(evidence),
        "batch": list(contract.batch),
        "inputs": [each.row() for each in contract.inputs],
        "outputs": [each.row() for each in contract.outputs],
        "task": config.task,
        "task_settings": task.settings(spec),
        "class_names": list(config.class_names),
        "mixture": _mixture_rows(cost, baseline),
        "baseline": _baseline(baseline, evidence.routing) if baseline and config.mixtures else None,
        "experts_report": EXPERTS_FILE if EXPERTS_FILE in {path.name for path in files} else None,
        "gflops": {"fixed": cost.fixed, "dense": cost.dense},
        "golden": {
            "controls": controls,
            "params": dict(golden.params),
            "router_margin": golden.router_margin,
            "input_levels": parity.tolerance.input_levels,
        },
        "proved": proved,
        "parity": _parity(parity, contract),
        "speed": asdict(speed) if speed else None,
        "default_controls": _default_controls(choice) if choice else None,
        "provenance": asdict(provenance),
    }
    if evidence.paths is not None:
        manifest["paths"] = dict(evidence.paths)
    check_manifest(manifest, f"{identity.name}-{identity.target}")
    return manifest


def _graphs(files: Sequence[Path], paths: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Return the graphs; of a model with paths, the router first, then the routes in the entry's order."""
    graphs = {path.stem: path.name for path in files if path.suffix in GRAPH_SUFFIXES}
    if paths is None:
        return [{"name": "model", "file": file} for file in graphs.values()]
    names = (paths["router"], *(route["graph"] for route in paths["routes"]))
    shared = {"weights": WEIGHTS_FILE} if WEIGHTS_FILE in {path.name for path in files} else {}
    return [
        {"name": name, "file": graphs[name]} | (shared if name != paths["router"] else {}) for name in names
    ]


def _routing_kind(evidence: Evidence) -> str:
    if evidence.paths is not None:
        return "path"
    return "static" if evidence.baseline and is_static(list(evidence.baseline.uses)) else "normal"


def _baseline(baseline: Baseline, routing: RoutingFile | None) -> dict[str, Any]:
    row: dict[str, Any] = {"data": baseline.data, "images": baseline.images}
    return row | ({"routing": routing.rows()} if routing else {})


def _parity(parity: Parity, contract: GraphContract) -> dict[str, Any]:
    facts = ("images", "distinct_expert_sets", "expert_sets", "skippable_experts")
    names = {each.role: each.name for each in contract.outputs}
    return {
        **{name: getattr(parity, name) for name in facts},
        "compared_boxes": parity.compared_boxes or None,
        "differences": {names.get(each, each): error for each, error in parity.differences.items()},
        "metric": asdict(parity.metric) if parity.metric else None,
    }


def _default_controls(choice: Choice) -> dict[str, Any]:
    facts = {name: getattr(choice, name) for name in ("reason", "data", "images", "metric")}
    return {**facts, "measured": [asdict(setting) for setting in choice.settings]}


def _mixture_rows(cost: Cost, baseline: Baseline | None) -> list[dict[str, Any]]:
    return [
        {
            "layer": layer,
            "row": row,
            "num_experts": len(gflops),
            "expert_gflops": list(gflops),
            **_measured_routing(layer, baseline),
        }
        for row, (layer, gflops) in enumerate(cost.experts.items())
    ]


def _measured_routing(layer: str, baseline: Baseline | None) -> dict[str, Any]:
    names = ("information_bits", "expert_share", "distinct_sets", "commonest_set_share")
    for use in baseline.uses if baseline else ():
        if baseline and use.layer == layer:
            nmi = {grouping: baseline.nmi[layer].get(grouping) for grouping in ("origin", "density")}
            measured = {name: getattr(use, name) for name in names}
            return {**measured, "expert_share": list(use.expert_share), "nmi": nmi}
    return dict.fromkeys((*names, "nmi"))
