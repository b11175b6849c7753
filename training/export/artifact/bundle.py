"""Export all artifacts of a model or none: write them to a staging folder, check them, then rename them."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import on_canvas
from training.data.images.reduced_jpeg import Fit
from training.data.sample import Dataset, Sample
from training.errors import ConfigError, ExportError
from training.evaluate.baseline import Baseline
from training.export.artifact.experts_file import write_experts_file
from training.export.artifact.manifest import Evidence, Identity, Provenance, build_manifest
from training.export.artifact.paths_entry import PathCount, paths_entry
from training.export.artifact.release import staging_room
from training.export.artifact.routing_file import ROUTING_FILE, Graph, RoutingFile, measure_routing
from training.export.artifact.stored_manifest import StoredManifest, read_manifests
from training.export.contract.precision import TOLERANCES, Precision
from training.export.contract.spec import GraphSpec, TargetName
from training.export.contract.tensors import CONTROL, Arrays
from training.export.graph.export_graph import Eager, graph_contract
from training.export.graph.half import half_precision
from training.export.proof.census import check_ports
from training.export.proof.defaults import Choice, with_defaults
from training.export.proof.engine import Engine
from training.export.proof.golden import make_golden
from training.export.proof.parity import MetricPair, Parity, measure_parity
from training.export.proof.path_engine import PathEngine
from training.export.proof.path_parity import measure_routes
from training.export.targets.build import ExportImages, Source
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.paths import build_paths, open_paths
from training.export.targets.target import Built, Target
from training.export.targets.targets import (
    DEFAULT_TARGETS,
    TARGETS,
    check_options,
    compared_top_ks,
    graph_spec,
    target_of,
)
from training.export.tasks.tasks import export_task
from training.export.triton.config import TritonOptions, release_models, stage_triton_models
from training.models.cost import Cost, measure_cost
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.progress import bar

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")  # the same pattern as in the manifest's schema

log = logging.getLogger(__name__)
ROUNDED_IMAGES = 4  # number compared in PyTorch with float16 maps, which takes seconds for an image on a CPU


@dataclass(frozen=True)
class Exported:
    """One released artifact: its folder, and how far its graph's outputs differ from the checkpoint's."""

    path: Path
    parity: Parity
    proved: bool


@dataclass(frozen=True)
class Measured:
    """A checkpoint's metric and routing on a data set; each graph's metric is compared with this metric."""

    dataset: Dataset
    training: tuple[str, Dataset] | None  # name and images of the training data, if they are at hand
    metric: float  # the task's metric, 0..1
    baseline: Baseline  # routing, for the manifest
    figures: Mapping[str, float] = field(default_factory=dict)  # for the manifest, by name
    experts_report: Mapping[str, Any] | None = None  # None: no expert is chosen


Measure = Callable[[Network], Measured]  # measures a checkpoint at the defaults of its controls


def export_model(
    model: Network,
    repository: Path,
    name: str,
    images: ExportImages,
    *,
    targets: Sequence[TargetName] = DEFAULT_TARGETS,
    options: ExportOptions = USUAL,
    measure: Measure | None = None,
    provenance: Provenance,
) -> list[Exported]:
    """Export a model for every target under the next free version; on an error, release nothing.

    Args:
        measure: returns the checkpoint's metric on a data set. A graph's metric on the same data may be lower
            by at most Tolerance.metric. None: no metric is compared. Artifacts of one export may have
            different defaults of their controls, so the function may be called several times.

    Raises:
        ConfigError: `name` is not allowed, or the options do not suit a target or the model.
        ExportError: a graph does not reproduce the checkpoint, the model finds nothing in the images, or a
            file cannot be moved into the repository.
    """
    check_name(name)
    check_options(targets, options, model.config)
    version = next_version(repository, name)
    older = {target: read_manifests(repository / f"{name}-{target}") for target in targets}
    source = Source(model, options, images)
    if options.fixed_batch is not None:
        _check_batch(older["tensorrt"], options.fixed_batch)
    has_paths = model.config.paths is not None
    for manifests in older.values():
        _check_kind(manifests, has_paths)
    job = _Job(source, measure, provenance, measure_cost(model))
    exported = []
    with staging_room(repository, name) as room:
        for target, manifests in older.items():
            folder = f"{name}-{target}"
            staging = room / folder / str(version)
            staging.mkdir(parents=True)
            log.info(f"{target}: tracing and converting")
            parity = _write_artifact(staging, Identity(name, target, str(version)), job)
            log.info(f"{target}: {parity}")
            manifest = StoredManifest.of(staging)
            stage_triton_models(room, [*manifests, manifest], TritonOptions())
            proved = manifest.content.get("proved", True)
            exported.append(Exported(repository / folder / str(version), parity, proved))
        release_models(room, repository, name)
    return exported


def check_name(name: str) -> None:
    """Raise ConfigError if `name` cannot be the name of a model and of a folder."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name!r}: write lower-case letters, digits, _, . and -, at most 64, beginning with "
            "a letter or a digit"
        )


def next_version(repository: Path, name: str) -> int:
    """Return the next version number: one more than the model's highest version for any target."""
    versions = [
        int(folder.name)
        for target in TARGETS
        for folder in (repository / f"{name}-{target}").glob("*")
        if folder.name.isdigit()
    ]
    return max(versions, default=0) + 1


def _check_kind(older: Sequence[StoredManifest], has_paths: bool) -> None:
    """Raise ConfigError if the new version has paths and an older version has none, or vice versa."""
    others = [stored for stored in older if stored.has_paths != has_paths]
    if others:
        has, lacks = ("has no paths", "has") if has_paths else ("has paths", "has none")
        raise ConfigError(
            f"{others[-1].model_name} version {others[-1].version} {has}, and this model {lacks}: export it "
            "under another --name"
        )


def _check_batch(older: Sequence[StoredManifest], fixed: int) -> None:
    """Raise ConfigError if an older version of the model takes other batch sizes than `fixed`."""
    others = [stored for stored in older if stored.content["batch"] != [fixed]]
    if others:
        raise ConfigError(
            f"{others[-1].model_name} version {others[-1].version} takes other batches than {fixed}, and "
            "Triton serves all versions alike: export a fixed batch under another --name"
        )


@dataclass(frozen=True)
class _Job:
    """The inputs that all artifacts of one export share."""

    source: Source
    measure: Measure | None
    provenance: Provenance
    cost: Cost


def _write_artifact(staging: Path, identity: Identity, job: _Job) -> Parity:
    source, precision = job.source, job.source.options.precision
    target = target_of(identity.target)
    built = _build(target, staging, source)
    if built.choice is not None:  # the graph takes its controls as inputs, so it stays as it is
        source = replace(source, model=with_defaults(source.model, built.choice.controls))
    model, measured = source.model, job.measure(source.model) if job.measure else None
    engine = _open(target, built, precision)
    count = PathCount(model.config.paths.count) if model.config.paths else None
    parity = _prove(engine, built, source, measured, count)
    golden = make_golden(model, engine, built.spec, source.images.golden)
    np.savez_compressed(staging / "golden.npz", **dict(golden.arrays))  # type: ignore[arg-type]  # NumPy's stub
    routing = _write_routing(staging, engine, built, source, measured)
    unproved = [*parity.unproved(), *filter(None, (golden.unproved,))]
    if unproved:
        _mark_unproved(unproved, source.options)
    baseline, provenance = None, job.provenance
    if measured is not None:
        baseline, provenance = measured.baseline, replace(provenance, metrics=dict(measured.figures))
        if measured.experts_report is not None:
            write_experts_file(staging, measured.experts_report)
    choice = built.choice or _as_trained(source)
    paths = paths_entry(built.routes, job.cost, count.share) if count else None
    evidence = Evidence(golden, parity, job.cost, baseline, built.speed, not unproved, choice, routing, paths)
    files = sorted(staging.iterdir())
    manifest = build_manifest(identity, model, (built.spec, precision), evidence, provenance, files)
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return parity


def _build(target: Target, folder: Path, source: Source) -> Built:
    """Write the graph, or the graphs of a model with paths, into a folder, and check their tensors."""
    config = source.model.config
    if config.paths is not None:
        return build_paths(target, folder, graph_spec(target.name, False, source.options), source)
    wanted = graph_spec(target.name, bool(config.mixtures), source.options)
    built = target.build_faster(folder, wanted, source)
    check_ports(built.path, graph_contract(config, built.spec))
    return built


def _open(target: Target, built: Built, precision: Precision) -> Engine:
    if built.routes:
        return open_paths(target, built.path, built.routes, precision, built.weights)
    return target.open(built.path, precision)


def _as_trained(source: Source) -> Choice | None:
    """Return the trained defaults and the reason to keep them; None without a reason or a mixture layer."""
    choice = source.images.choice
    same = "as trained: this graph takes the same time however many experts an image leaves out"
    reason = choice if isinstance(choice, str) else same
    told = reason and source.model.mixture_layers()
    return Choice(source.model.default_controls(), reason) if told else None


def _mark_unproved(reasons: Sequence[str], options: ExportOptions) -> None:
    """Log why the checks cannot show that an artifact works; raise ExportError if `options` forbid this."""
    why = f"this model is too little trained to prove that its artifact works: {'; '.join(reasons)}"
    served = "the service serves it only with SPARSIGHT_SERVE_UNPROVED=true"
    if not options.unproved:
        raise ExportError(
            f"{why}. Nothing was written. Train longer, or give images of its classes with --data; or say "
            f"--unproved to export it all the same, marked as unproved: {served}"
        )
    log.warning(f"unproved: {why}. It is marked as unproved: {served}")


def _prove(
    engine: Engine, built: Built, source: Source, measured: Measured | None, count: PathCount | None
) -> Parity:
    """Return how far a graph's outputs differ from its checkpoint's; raise ExportError if too far.

    `count` counts the paths of the measured images.
    """
    model, spec = source.model, built.spec
    tolerance = TOLERANCES[source.options.precision]
    canvases = source.canvases(source.images.parity)
    top_ks = compared_top_ks(model.config, spec)
    parity = measure_parity(model, spec, engine, canvases, top_ks, tolerance=tolerance)
    if isinstance(engine, PathEngine):
        parity = parity.worse_of(_of_routes(engine, built, source, canvases))
    elif source.options.precision == "f16":
        half, alone = Eager(half_precision(model), spec), _alone(spec)
        some, top_k = canvases[:ROUNDED_IMAGES], [model.config.top_k]
        parity = parity.worse_of(measure_parity(model, alone, half, some, top_k, tolerance=tolerance))
    parity = replace(parity, skippable_experts=built.skippable_experts)
    if measured is not None:
        task, dataset = export_task(model.config), measured.dataset
        answers = _answers(engine, built, source, dataset)
        answers = count.noted(answers) if count else answers
        got = task.metric(answers, dataset.class_names, model.config.input_hw)
        parity = replace(parity, metric=MetricPair(task.metric_name, measured.metric, got))
    parity.check()
    return parity


def _of_routes(
    engine: PathEngine, built: Built, source: Source, canvases: Sequence[NDArray[np.uint8]]
) -> Parity:
    """Return how far the outputs of every route differ from those of the checkpoint on the route's path."""
    model, precision = source.model, source.options.precision
    tolerance, routes = TOLERANCES[precision], built.routes
    parity = measure_routes(
        model, built.spec, lambda route, _: engine.route(route.key), routes, canvases, tolerance
    )
    if precision != "f16":
        return parity
    alone, some = _alone(built.spec), canvases[:ROUNDED_IMAGES]
    rounded = measure_routes(
        model, alone, lambda _, fixed: Eager(half_precision(fixed), alone), routes, some, tolerance
    )
    return parity.worse_of(rounded)


def _alone(spec: GraphSpec) -> GraphSpec:
    """Return the same spec for a graph that takes one image."""
    return replace(spec, max_batch=1, fixed_batch=None)


def _write_routing(
    staging: Path, engine: Engine, built: Built, source: Source, measured: Measured | None
) -> RoutingFile | None:
    """Measure the graph's routing and write it into a folder; return None if there is nothing to measure."""
    model, count = source.model, source.options.baseline_images
    if measured is None or not model.config.mixtures or not count:
        return None
    contract = graph_contract(model.config, built.spec)

    def run(canvas: NDArray[np.uint8], controls: RoutingControls) -> Arrays:
        return contract.by_role(engine.run(contract.feed([canvas], [controls])), slice(1))

    top_ks = compared_top_ks(model.config, built.spec)
    names = [each.name for each in contract.inputs if each.role == CONTROL]
    graph = Graph(run, model.config.input_hw, model.resize, model.default_controls(), top_ks, names)
    routing = measure_routing(graph, (measured.baseline.data, measured.dataset), measured.training, count)
    routing.write(staging / ROUTING_FILE)
    return routing


def _answers(
    engine: Engine, built: Built, source: Source, dataset: Dataset
) -> Iterator[tuple[Sample, Arrays]]:
    """Yield each image of a data set with the graph's outputs for that image; the outputs are by role."""
    model, contract = source.model, graph_contract(source.model.config, built.spec)
    fit, controls = Fit(model.config.input_hw, model.resize), model.default_controls()
    with bar(len(dataset), "image", "evaluate") as progress:
        for index in range(len(dataset)):
            sample = dataset.load(index, fit)
            canvas = on_canvas(sample.image, model.config.input_hw, model.resize, sample.reduced)
            outputs = engine.run(contract.feed([canvas], [controls]))
            yield sample, contract.by_role(outputs, slice(1))
            progress.update()
