"""Exports that are whole or not there: written beside, proved, then renamed into the repository."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.sample import Dataset
from training.errors import ConfigError
from training.evaluate.baseline import Baseline
from training.export.artifact.build import Source, build_graph
from training.export.artifact.manifest import (
    DEFAULT_IOU,
    DEFAULT_MAX_DET,
    Evidence,
    Identity,
    Provenance,
    build_manifest,
)
from training.export.artifact.release import release, staging_room
from training.export.artifact.stored_manifest import StoredManifest, read_manifests
from training.export.graph.export_graph import GraphSpec, Target
from training.export.graph.half import EagerHalf
from training.export.graph.precision import TOLERANCES
from training.export.proof.accuracy import graph_map50_95
from training.export.proof.engine import Engine
from training.export.proof.golden import make_golden
from training.export.proof.parity import MapPair, Parity, measure_parity
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.targets import (
    DEFAULT_TARGETS,
    TARGETS,
    check_options,
    compared_top_ks,
    graph_spec,
)
from training.export.triton.config import TritonOptions, stage_triton_models
from training.models.cost import Cost, measure_cost
from training.models.detector import Detector

ROUNDED_PICTURES = 4  # with every map in float16, which takes PyTorch seconds each on a CPU


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
    calibration: Sequence[NDArray[np.uint8]] = ()  # for precision int8


@dataclass(frozen=True)
class Measured:
    """What the checkpoint did on a data set, on which every graph is measured as well."""

    dataset: Dataset
    map50_95: float  # 0..1
    baseline: Baseline  # routing, for the manifest


def export_model(
    model: Detector,
    repository: Path,
    name: str,
    pictures: Pictures,
    *,
    targets: Sequence[Target] = DEFAULT_TARGETS,
    options: ExportOptions = USUAL,
    measured: Measured | None = None,
    provenance: Provenance,
    quiet: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> list[Exported]:
    """Export for every target, under the next free version, or change nothing.

    Args:
        pictures: on which parity is measured, and of which one becomes the golden sample.
        measured: on data on which mAP must not fall; None: it is not looked at.
        quiet: no progress bar.
        say: is told what is being done.

    Raises:
        ConfigError: a target or the model cannot do what the options ask for.
        ExportError: a graph does not reproduce the checkpoint, or finds nothing in the pictures.
    """
    check_options(targets, options, model.config)
    version = next_version(repository, name)
    older = {target: read_manifests(repository / f"{name}-{target}") for target in targets}
    source = Source(model, options, pictures.parity, pictures.calibration, quiet, say)
    if options.fixed_batch is not None:
        _check_batch(older["tensorrt"], options.fixed_batch)
    job = _Job(source, pictures, measured, provenance, measure_cost(model))
    exported = []
    with staging_room(repository, name) as room:
        for target, manifests in older.items():
            folder = f"{name}-{target}"
            staging = room / folder / str(version)
            staging.mkdir(parents=True)
            say(f"{target}: tracing and converting")
            parity = _write_artefact(staging, Identity(name, target, str(version)), job)
            say(f"{target}: {parity}")
            manifest = StoredManifest(version, (staging / "manifest.json").read_bytes())
            stage_triton_models(room, [*manifests, manifest], TritonOptions())
            exported.append(Exported(repository / folder / str(version), parity))
        release(room, repository)
    return exported


def next_version(repository: Path, name: str) -> int:
    """One more than the highest version of any target of this model."""
    versions = [
        int(folder.name)
        for target in TARGETS
        for folder in (repository / f"{name}-{target}").glob("*")
        if folder.name.isdigit()
    ]
    return max(versions, default=0) + 1


def _check_batch(older: Sequence[StoredManifest], fixed: int) -> None:
    """Raises ConfigError early where Triton could not serve the versions side by side."""
    others = [stored for stored in older if stored.content["input"]["batch"] != [fixed]]
    if others:
        raise ConfigError(
            f"{others[-1].model_name} version {others[-1].version} takes other batches than {fixed}, and "
            "Triton serves all versions alike: export a fixed batch under another --name"
        )


@dataclass(frozen=True)
class _Job:
    """What the artefacts of one export share."""

    source: Source
    pictures: Pictures
    measured: Measured | None
    provenance: Provenance
    cost: Cost


def _write_artefact(staging: Path, identity: Identity, job: _Job) -> Parity:
    source, model, precision = job.source, job.source.model, job.source.options.precision
    wanted = graph_spec(identity.target, bool(model.mixture_layers()), source.options)
    built = build_graph(staging, identity.target, wanted, source)
    spec, engine = built.spec, Engine(built.path, precision)
    parity = measure_parity(
        model,
        spec,
        engine,
        source.canvases(source.pictures),
        compared_top_ks(model.config, spec),
        tolerance=TOLERANCES[precision],
        quiet=source.quiet,
    )
    if precision == "f16":
        alone = GraphSpec("dense", spec.selection, spec.candidates)
        some, top_ks = source.canvases(source.pictures[:ROUNDED_PICTURES]), [model.config.top_k]
        half = EagerHalf(model, alone)
        rounded = measure_parity(model, alone, half, some, top_ks, tolerance=TOLERANCES[precision])
        parity = parity.worse_of(rounded)
    parity = replace(parity, skippable_experts=built.skippable_experts)
    if job.measured is not None:
        got = graph_map50_95(engine, spec, model.config, job.measured.dataset, quiet=source.quiet)
        parity = replace(parity, map50_95=MapPair(job.measured.map50_95, got))
    parity.check()
    golden = make_golden(model, engine, spec, job.pictures.golden, (DEFAULT_IOU, DEFAULT_MAX_DET))
    np.savez_compressed(staging / "golden.npz", **dict(golden.arrays))  # type: ignore[arg-type]  # its stub names one
    baseline = job.measured.baseline if job.measured else None
    evidence = Evidence(golden, parity, job.cost, baseline, built.speed)
    files = sorted(path for path in staging.iterdir())
    manifest = build_manifest(identity, model, (spec, precision), evidence, job.provenance, files)
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return parity
