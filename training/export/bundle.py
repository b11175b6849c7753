"""Exports that are whole or not there: written beside, proved, then renamed into the repository."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from training.config import HEAD_PLACES, ModelConfig
from training.data.letterbox import letterbox_image
from training.data.sample import Dataset
from training.errors import ConfigError
from training.evaluate.expert_use import LayerUse
from training.export.accuracy import graph_map50_95
from training.export.census import check_branches, skippable_experts
from training.export.choose import Speed, measure_speed
from training.export.engine import Engine, check_precision, cpu_capabilities, save_openvino
from training.export.golden import make_golden
from training.export.graph import Execution, GraphSpec, Target
from training.export.half import half_precision
from training.export.int8 import check_nncf, quantize_dense, quantize_like, save_over
from training.export.manifest import (
    DEFAULT_IOU,
    DEFAULT_MAX_DET,
    Evidence,
    Identity,
    Provenance,
    allowed_top_ks,
    build_manifest,
)
from training.export.onnx_file import to_onnx
from training.export.options import ExportOptions
from training.export.parity import MapPair, Parity, measure_parity
from training.export.precision import PRECISIONS, TOLERANCES
from training.export.release import release, staging_room
from training.export.shared_only import without_routed_experts
from training.export.stored_manifest import StoredManifest, read_manifests
from training.export.triton_config import TritonOptions, stage_triton_models
from training.models.cost import Cost, measure_cost
from training.models.detector import Detector

TARGETS: tuple[Target, ...] = ("openvino", "onnx", "tensorrt")
# Without tensorrt: on a machine without an NVIDIA GPU it would be a model that Triton cannot load.
DEFAULT_TARGETS: tuple[Target, ...] = ("openvino", "onnx")
EXECUTIONS: tuple[Execution, ...] = ("sparse", "dense")
MAX_BATCH = 8  # of target tensorrt
USUAL = ExportOptions()


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
    uses: Sequence[LayerUse]  # routing, for the manifest


def graph_spec(target: Target, has_mixture: bool, options: ExportOptions = USUAL) -> GraphSpec:
    """What each target can do.

    The CPU skips experts, unless told not to; a static graph computes all and selects nothing; a batch on a
    GPU computes all, or, if its size is fixed, gathers the weights of those that were chosen.
    """
    match target:
        case "openvino":
            return GraphSpec(
                "sparse" if has_mixture and options.execution != "dense" else "dense",
                "graph",
                # The weights of experts that are gathered at run time cannot be quantised beforehand.
                branches="per_expert" if options.precision == "int8" else "best",
                ports="bf16" if options.precision == "bf16" else "f32",
            )
        case "onnx":
            return GraphSpec("dense", "service")
        case "tensorrt" if options.fixed_batch is not None:
            return GraphSpec("sparse", "graph", fixed_batch=options.fixed_batch)
        case "tensorrt":
            return GraphSpec("dense", "graph", max_batch=MAX_BATCH)


def check_options(targets: Sequence[Target], options: ExportOptions, config: ModelConfig) -> None:
    """Find out early what cannot be done.

    Raises:
        ConfigError: a target or the model cannot do what is asked.
        ExportError: this machine lacks what it takes.
    """
    for target in targets:
        if options.precision not in PRECISIONS[target]:
            able = [each for each in TARGETS if options.precision in PRECISIONS[each]]
            raise ConfigError(
                f"target {target} comes in {', '.join(PRECISIONS[target])}, not in {options.precision}; "
                f"export that with --target {able[0]} alone, under a name of its own"
            )
    if options.execution == "sparse" and not ("openvino" in targets and config.mixtures):
        raise ConfigError(
            "execution sparse is for target openvino and models with mixtures: leave out --execution"
        )
    if options.fixed_batch is not None and not (set(targets) == {"tensorrt"} and config.mixtures):
        raise ConfigError(
            "a fixed batch is for target tensorrt alone and models with mixtures: leave out --batch"
        )
    if options.fixed_batch is not None and not _gatherable(config):
        raise ConfigError(
            "a fixed batch picks weights for each image, of depthwise or simple experts with batch norm; "
            f"{config.variant} has others: leave out --batch"
        )
    if options.experts == "shared" and set(targets) != {"onnx"}:
        raise ConfigError("a graph with shared experts only is for target onnx: add --target onnx")
    check_precision(options.precision, cpu_capabilities())
    if options.precision == "int8":
        check_nncf()


def _gatherable(config: ModelConfig) -> bool:
    layers = {place: m for place, m in config.mixtures.items() if place not in HEAD_PLACES}
    return len(layers) == len(config.mixtures) and all(
        mixture.expert in ("depthwise", "simple") and mixture.norm == "batch" for mixture in layers.values()
    )


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
    if options.experts == "shared":
        model = without_routed_experts(model)
        measured = None  # it is another detector, and not to be held against the whole one
    version = next_version(repository, name)
    older = {target: read_manifests(repository / f"{name}-{target}") for target in targets}
    job = _Job(model, pictures, options, measured, provenance, measure_cost(model), quiet, say)
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


def compared_top_ks(config: ModelConfig, spec: GraphSpec | None = None) -> list[int]:
    """The fewest and the most experts, those between at which a layer runs out of them, and the default.

    At the fewest nearly every expert is skipped, at the most every one runs.
    """
    every = config.allowed_top_k if spec is None else allowed_top_ks(config, spec)
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


@dataclass(frozen=True)
class _Job:
    """What the artefacts of one export share."""

    model: Detector
    pictures: Pictures
    options: ExportOptions
    measured: Measured | None
    provenance: Provenance
    cost: Cost
    quiet: bool
    say: Callable[[str], None]


def _write_artefact(staging: Path, identity: Identity, job: _Job) -> Parity:
    model, precision, pictures = job.model, job.options.precision, job.pictures
    spec = graph_spec(identity.target, bool(model.mixture_layers()), job.options)
    canvases = [letterbox_image(picture, model.config.input_hw)[0] for picture in pictures.parity]
    if identity.target == "openvino" and spec.execution == "sparse" and job.options.execution == "auto":
        built, speed = _build_faster(staging, spec, job, canvases)
    else:
        built, speed = _build(staging, identity.target, spec, job), None
    spec = built.spec
    engine = Engine(built.path, precision)
    parity = measure_parity(
        model,
        spec,
        engine,
        canvases,
        compared_top_ks(model.config, spec),
        tolerance=TOLERANCES[precision],
        quiet=job.quiet,
    )
    parity = replace(parity, skippable_experts=built.skippable_experts)
    if job.measured is not None:
        got = graph_map50_95(engine, spec, model.config, job.measured.dataset, quiet=job.quiet)
        parity = replace(parity, map50_95=MapPair(job.measured.map50_95, got))
    parity.check()
    golden = make_golden(model, engine, spec, pictures.golden, (DEFAULT_IOU, DEFAULT_MAX_DET))
    np.savez_compressed(staging / "golden.npz", **dict(golden.arrays))  # type: ignore[arg-type]  # its stub names one
    evidence = Evidence(golden, parity, job.cost, job.measured.uses if job.measured else (), speed)
    files = sorted(path for path in staging.iterdir())
    manifest = build_manifest(identity, model, (spec, precision), evidence, job.provenance, files)
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return parity


@dataclass(frozen=True)
class _Built:
    path: Path  # of the file that an engine reads
    spec: GraphSpec
    skippable_experts: int


def _build_faster(
    staging: Path, spec: GraphSpec, job: _Job, canvases: Sequence[NDArray[np.uint8]]
) -> tuple[_Built, Speed]:
    """Build both executions, and leave the faster one in the folder."""
    built = {}
    for execution in EXECUTIONS:
        (staging / execution).mkdir()
        built[execution] = _build(staging / execution, "openvino", replace(spec, execution=execution), job)
    engines = {execution: Engine(each.path, job.options.precision) for execution, each in built.items()}
    speed = measure_speed(engines, canvases, job.model.default_controls())
    job.say(f"openvino: {speed}")
    faster = built[speed.faster]
    for path in faster.path.parent.iterdir():
        path.rename(staging / path.name)
    for execution in EXECUTIONS:
        shutil.rmtree(staging / execution)
    return replace(faster, path=staging / faster.path.name), speed


def _build(folder: Path, target: Target, spec: GraphSpec, job: _Job) -> _Built:
    """Write the graph in its precision."""
    path = folder / "model.onnx"
    traced = half_precision(job.model) if job.options.precision == "f16" else job.model
    onnx.save(to_onnx(traced, spec), path)
    if target == "openvino":
        path = _convert(path)
    if job.options.precision == "int8":
        _quantize(path, spec, job)
    return _Built(path, spec, skippable_experts(path) if target == "openvino" else 0)


def _convert(onnx_path: Path) -> Path:
    path = onnx_path.with_suffix(".xml")
    save_openvino(onnx_path, path)
    onnx_path.unlink()
    check_branches(path)
    return path


def _quantize(path: Path, spec: GraphSpec, job: _Job) -> None:
    """Replace a graph by its 8-bit form; ranges are those that the dense graph sees."""
    dense_path = path
    if spec.execution == "sparse":
        dense_path = path.with_name("dense.onnx")
        onnx.save(to_onnx(job.model, replace(spec, execution="dense")), dense_path)
        dense_path = _convert(dense_path)
    config = job.model.config
    canvases = [letterbox_image(each, config.input_hw)[0] for each in job.pictures.calibration]
    job.say(f"openvino: {spec.execution} in 8 bit, calibrated on {len(canvases)} pictures")
    quantized = quantize_dense(dense_path, canvases, job.model.default_controls(), quiet=job.quiet)
    if spec.execution == "sparse":
        quantized = quantize_like(quantized, dense_path, path)
    save_over(quantized, path)
    if dense_path != path:
        dense_path.unlink()
        dense_path.with_suffix(".bin").unlink()
