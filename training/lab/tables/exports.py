"""The table of a model repository: its artifacts, and how much their outputs differ from the checkpoints'."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.columns import in_columns
from training.errors import ExportError
from training.export.artifact.stored_manifest import StoredManifest, read_manifests
from training.export.targets.targets import TARGETS
from training.lab.tables.defaults import default_controls

COLUMNS = (
    *("artifact", "variant", "graph", "MB", "runs", "images"),
    *("boxes px", "scores", "shapes", "gates", "same sets", "metric"),
)
EXPLAINED = """\
graph: its precision; sparse skips experts that are not chosen, dense computes all experts. In brackets, if
the export timed both: the time of sparse divided by the time of dense.
runs: the default top_k, and the default weight_threshold if there is one.
boxes, scores, shapes, gates: the largest difference from the checkpoint over the images, at several top_k
and thresholds. Shapes are masks (1 - IoU), keypoints (px) or angles of oriented boxes (rad). An artifact
beyond the limits of its precision is never released.
same sets: how often layers chose the same experts as in the checkpoint, and the number of different choices.
metric: of the checkpoint and of the graph on the data of the export; mAP@[.5:.95], or the top-1 accuracy of
a classifier; - if the export had no data."""
_COLUMN_OF_ROLE = {"boxes_xyxy": "boxes", "class_scores": "scores", "router_probs": "gates"}
_SHAPES = {"masks": "1-IoU", "keypoints": "px", "angles": "rad"}  # units by entry of parity.differences


def read_repository(repository: Path) -> list[StoredManifest]:
    """Return every version of every artifact, sorted by name, target and version.

    Raises:
        ExportError: the repository holds no exported model, or a manifest is damaged.
    """
    folders = sorted({path.parents[1] for path in repository.glob("*/[1-9]*/manifest.json")})
    ours = [folder for folder in folders if folder.name.rpartition("-")[2] in TARGETS]
    found = [manifest for folder in ours for manifest in read_manifests(folder)]
    if not found:
        raise ExportError(f"{repository} holds no exported models: python -m training export writes them")
    return found


def exports_table(repository: Path) -> str:
    """Return a table with one line for each version of an artifact, and an explanation of its columns.

    Raises:
        ExportError: as read_repository raises it.
    """
    rows = [COLUMNS, *(_cells(repository, stored) for stored in read_repository(repository))]
    return "\n".join([*in_columns(rows, "lllrlrrrrrll"), "", EXPLAINED])


def exports_json(repository: Path) -> str:
    """Return a JSON list of the artifacts; each has a name, version, graph, routing, parity and speed."""
    keys = (
        *("name", "target", "version", "variant", "precision", "execution", "routing", "parity", "speed"),
        "default_controls",
    )
    manifests = [stored.content for stored in read_repository(repository)]
    return json.dumps([{key: manifest.get(key) for key in keys} for manifest in manifests], indent=2)


def _runs(stored: StoredManifest) -> str:
    controls = default_controls(stored)
    if controls is None:
        return "-"
    threshold = controls.weight_threshold
    return f"{controls.top_k} from {threshold:g}" if threshold else str(controls.top_k)


def _cells(repository: Path, stored: StoredManifest) -> tuple[str, ...]:
    manifest, folder = stored.content, repository / stored.model_name / str(stored.version)
    size = sum((folder / name).stat().st_size for name in manifest["files"])
    parity: Mapping[str, Any] = manifest["parity"]
    graph = f"{manifest['precision']} {manifest['execution']}"
    if speed := manifest.get("speed"):
        graph += f" ({speed['sparse_to_dense']:.2f})"
    sets = "-"
    if manifest["mixture"]:
        share = parity.get("expert_sets")
        sets = f"{'-' if share is None else f'{share:.1%}'} of {parity['distinct_expert_sets']}"
    pair, worst = parity.get("metric"), dict[str, float]()
    for row in manifest["outputs"]:  # several outputs may share a column
        column = _COLUMN_OF_ROLE.get(row["role"], row["role"])
        if (error := parity["differences"].get(row["name"])) is not None:
            worst[column] = max(error, worst.get(column, 0.0))
    boxes, scores, gates = (
        f"{worst[column]:.2g}" if column in worst else "-" for column in ("boxes", "scores", "gates")
    )
    shapes = [
        f"{error:.2g} {_SHAPES[what]}" for what, error in parity["differences"].items() if what in _SHAPES
    ]
    return (
        f"{stored.model_name}/{stored.version}",
        manifest["variant"],
        graph,
        f"{size / 1e6:.1f}",
        _runs(stored),
        str(parity["images"]),
        boxes,
        scores,
        *(shapes or ["-"]),
        gates,
        sets,
        f"{pair['checkpoint']:.4f} {pair['graph']:.4f}" if pair else "-",
    )
