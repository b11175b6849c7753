"""Exports that are whole or not there: written beside, proved, then renamed into the repository."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training.config import ModelConfig
from training.data.letterbox import letterbox_image
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
from training.export.release import release, staging_room
from training.export.stored_manifest import StoredManifest, read_manifests
from training.export.triton_config import TritonOptions, stage_triton_models
from training.models.cost import Cost, measure_cost
from training.models.detector import Detector

TARGETS: tuple[Target, ...] = ("openvino", "onnx", "tensorrt")
# Without tensorrt: on a machine without an NVIDIA GPU it would be a model that Triton cannot load.
DEFAULT_TARGETS: tuple[Target, ...] = ("openvino", "onnx")
MAX_BATCH = 8  # of target tensorrt


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
    """What each target can do.

    The CPU skips experts; a static graph computes all and selects nothing; a batch on a GPU computes all.
    """
    match target:
        case "openvino":
            return GraphSpec("sparse" if has_mixture else "dense", "graph")
        case "onnx":
            return GraphSpec("dense", "service")
        case "tensorrt":
            return GraphSpec("dense", "graph", max_batch=MAX_BATCH)


def export_model(
    model: Detector,
    repository: Path,
    name: str,
    pictures: Pictures,
    *,
    targets: Sequence[Target] = DEFAULT_TARGETS,
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
    version = next_version(repository, name)
    older = {target: read_manifests(repository / f"{name}-{target}") for target in targets}
    cost = measure_cost(model)
    exported = []
    with staging_room(repository, name) as room:
        for target, manifests in older.items():
            folder = f"{name}-{target}"
            staging = room / folder / str(version)
            staging.mkdir(parents=True)
            identity = Identity(name, target, str(version))
            say(f"{target}: tracing and converting")
            parity = _write_artefact(staging, identity, model, pictures, (cost, uses), provenance)
            say(f"{target}: equal on {parity.images} pictures, boxes within {parity.boxes_px:.1g} px")
            manifest = StoredManifest(version, (staging / "manifest.json").read_bytes())
            stage_triton_models(room, [*manifests, manifest], TritonOptions())
            exported.append(Exported(repository / folder / str(version), parity))
        release(room, repository)
    return exported


def compared_top_ks(config: ModelConfig) -> list[int]:
    """The fewest and the most experts, those between at which a layer runs out of them, and the default.

    At the fewest nearly every expert is skipped, at the most every one runs.
    """
    every = config.allowed_top_k
    turns = {1, 2, config.top_k, *(mixture.num_experts for mixture in config.mixtures.values())}
    return sorted({every[0], every[-1], *(top_k for top_k in turns if top_k in every)})


def next_version(repository: Path, name: str) -> int:
    """One more than the highest version of any target of this model."""
    versions = [
        int(folder.name)
        for target in TARGETS
        for folder in (repository / f"{name}-{target}").glob("*")
        if folder.name.isdigit()
    ]
    return max(versions, default=0) + 1


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
    parity = measure_parity(model, spec, engine, canvases, compared_top_ks(model.config))
    parity.check()
    golden = make_golden(model, engine, spec, pictures.golden, (DEFAULT_IOU, DEFAULT_MAX_DET))
    np.savez_compressed(staging / "golden.npz", **dict(golden.arrays))  # type: ignore[arg-type]  # its stub names one
    cost, uses = measured
    files = sorted(path for path in staging.iterdir())
    manifest = build_manifest(identity, model, spec, (golden, parity, cost, uses), provenance, files)
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return parity
