"""Exports that are whole or not there: written beside, proved, then renamed into the repository."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training.data.letterbox import letterbox_image
from training.errors import ExportError
from training.evaluate.expert_use import LayerUse
from training.export.engine import Engine, save_openvino
from training.export.golden import make_golden
from training.export.graph import GraphSpec, Target
from training.export.manifest import (
    DEFAULT_IOU,
    DEFAULT_MAX_DET,
    Identity,
    Provenance,
    build_manifest,
)
from training.export.onnx_file import to_onnx
from training.export.parity import Parity, measure_parity
from training.models.cost import Cost, measure_cost
from training.models.detector import Detector

TARGETS: tuple[Target, ...] = ("openvino", "onnx")
STAGING_PREFIX = ".staging-"


@dataclass(frozen=True)
class Exported:
    """One released artefact."""

    path: Path
    parity: Parity


@dataclass(frozen=True)
class Pictures:
    """(H, W, 3) uint8 RGB each."""

    parity: Sequence[NDArray[np.uint8]]
    golden: Sequence[NDArray[np.uint8]]  # drawn by our own code: one of them is shipped


def graph_spec(target: Target, has_mixture: bool) -> GraphSpec:
    """What each target can do: the CPU skips experts; a static graph computes all and selects nothing."""
    match target:
        case "openvino":
            return GraphSpec("sparse" if has_mixture else "dense", "graph")
        case "onnx":
            return GraphSpec("dense", "service")


def export_model(
    model: Detector,
    repository: Path,
    name: str,
    pictures: Pictures,
    *,
    targets: Sequence[Target] = TARGETS,
    uses: Sequence[LayerUse] = (),
    provenance: Provenance,
    say: Callable[[str], None] = lambda _: None,
) -> list[Exported]:
    """Export for every target, under the next free version, or change nothing.

    Args:
        pictures: on which parity is measured, and of which one becomes the golden sample.
        uses: measured routing, for the manifest.
        say: is told what is being done.

    Raises:
        ExportError: a graph does not reproduce the checkpoint, or finds nothing in the pictures.
    """
    repository.mkdir(parents=True, exist_ok=True)
    remove_stale_staging(repository)
    version = next_version(repository, name)
    cost = measure_cost(model)
    with ExitStack() as cleanup:
        staged = []
        for target in targets:
            staging = repository / f"{STAGING_PREFIX}{name}-{target}-{os.getpid()}"
            cleanup.callback(shutil.rmtree, staging, ignore_errors=True)
            staging.mkdir()
            identity = Identity(name, target, str(version))
            say(f"{target}: tracing and converting")
            parity = _write_artefact(staging, identity, model, pictures, (cost, uses), provenance)
            say(f"{target}: equal on {parity.images} pictures, boxes within {parity.boxes_px:.1g} px")
            staged.append((staging, repository / f"{name}-{target}" / str(version), parity))
        return _release(staged)


def next_version(repository: Path, name: str) -> int:
    """One more than the highest version of any target of this model."""
    versions = [
        int(folder.name)
        for target in TARGETS
        for folder in (repository / f"{name}-{target}").glob("*")
        if folder.name.isdigit()
    ]
    return max(versions, default=0) + 1


def remove_stale_staging(repository: Path) -> None:
    """Delete what exports killed half-way left behind; those of living processes stay."""
    for folder in repository.glob(f"{STAGING_PREFIX}*"):
        owner = folder.name.rpartition("-")[2]
        if owner.isdigit() and int(owner) != os.getpid() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _write_artefact(
    staging: Path,
    identity: Identity,
    model: Detector,
    pictures: Pictures,
    measured: tuple[Cost, Sequence[LayerUse]],
    provenance: Provenance,
) -> Parity:
    spec = graph_spec(identity.target, bool(model.mixture_layers()))
    onnx_path = staging / "model.onnx"
    onnx.save(to_onnx(model, spec), onnx_path)
    graph_path = onnx_path
    if identity.target == "openvino":
        graph_path = staging / "model.xml"
        save_openvino(onnx_path, graph_path)
        onnx_path.unlink()
    engine = Engine(graph_path)
    canvases = [letterbox_image(picture, model.config.input_hw)[0] for picture in pictures.parity]
    mixture = model.config.mixture
    top_ks = range(1, mixture.num_experts + 1) if mixture else [1]
    parity = measure_parity(model, spec, engine, canvases, list(top_ks))
    parity.check()
    golden = make_golden(model, engine, spec, pictures.golden, (DEFAULT_IOU, DEFAULT_MAX_DET))
    np.savez_compressed(staging / "golden.npz", **dict(golden.arrays))  # type: ignore[arg-type]  # its stub names one
    cost, uses = measured
    files = sorted(path for path in staging.iterdir())
    manifest = build_manifest(identity, model, spec, (golden, parity, cost, uses), provenance, files)
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in staging.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return parity


def _release(staged: Sequence[tuple[Path, Path, Parity]]) -> list[Exported]:
    """Rename every staged folder into place; if one fails, take back those before it."""
    released: list[Exported] = []
    try:
        for staging, final, parity in staged:
            final.parent.mkdir(exist_ok=True)
            staging.rename(final)
            released.append(Exported(final, parity))
    except OSError as error:
        for exported in released:
            shutil.rmtree(exported.path, ignore_errors=True)
        raise ExportError(f"could not release {final}: {error}; nothing was released") from error
    return released
