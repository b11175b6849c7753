"""Measure a checkpoint, and export it for every target."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import ModelConfig
from training.data.sample import Dataset
from training.data.scenes.scenes import CLASS_NAMES as SCENE_CLASSES
from training.data.scenes.scenes import ScenesDataset
from training.data_config import DataConfig, Labels
from training.errors import ConfigError, DatasetError
from training.evaluate.baseline import Baseline, nmi_by_layer
from training.evaluate.experts_report import experts_report
from training.export.artifact.bundle import Exported, Measure, Measured, export_model
from training.export.artifact.manifest import Provenance
from training.export.contract.spec import TargetName
from training.export.graph.shared_only import without_routed_experts
from training.export.proof.choice import ChoiceImages
from training.export.proof.defaults import with_defaults
from training.export.targets.build import ExportImages
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.targets import DEFAULT_TARGETS, target_of
from training.export.targets.tensorrt_plan import offer_plan
from training.export.tasks.tasks import export_task
from training.files import sha256_of
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.tasks.choose import task_named
from training.trainer.checkpoint import find_checkpoint, load_model
from training.trainer.loop import compute_device
from training.workflows import dataset_config
from training.workflows.dataset_config import data_name, described, log_measured, open_for
from training.workflows.measure import controls_of, labelled_for
from training.workflows.preflight import before_export
from training.workflows.provenance import checkpoint_in_words, origin_in_words

log = logging.getLogger(__name__)

PARITY_IMAGES = 6  # from the data, beside as many generated scenes
MORE_PARITY_IMAGES = 48


def export(
    checkpoint: Path,
    repository: Path,
    name: str,
    *,
    data: DataConfig | None,
    calibration: DataConfig | None = None,
    targets: Sequence[TargetName] = DEFAULT_TARGETS,
    options: ExportOptions = USUAL,
    attribution: str = "",
    metric_prefix: str = "val",
) -> list[Exported]:
    """Measure a checkpoint on `data`, then export it for every target; on an error, release no artifact.

    Args:
        checkpoint: a file, the folder of a run (its best checkpoint by validation), or the word starter.
        data: labelled data to measure on. None: generated scenes that training did not use. If the model does
            not have the classes of the scenes, nothing is measured.
        calibration: images for the value ranges of int8, and for the choice of the controls' defaults. None:
            int8 uses the images of `data`, and the defaults stay as trained. If the model is measured on
            generated scenes, None stands for the scenes of training, for both purposes.
        attribution: credits for the manifest; the origin of the model's initial weights is appended.

    Raises:
        ConfigError: before_export raises it (its docstring lists the cases), or calibration has no images.
        ExportError: a package is missing, or a graph does not reproduce the checkpoint.
    """
    checkpoint = find_checkpoint(checkpoint)
    model, stored = load_model(checkpoint)
    credits = "; ".join(filter(None, (attribution, origin_in_words(stored))))
    folder = Path(stored.get("data", "")).name  # without the path: artifacts are shared
    before_export(name, targets, options, model.config, repository)  # measuring may take hours
    model = _as_exported(model, options)  # the figures must be those of the exported model
    if data is None and model.config.class_names == SCENE_CLASSES:
        data = dataset_config.SCENES_UNSEEN
    calibrated = calibration_images(model.config, calibration or data, options)
    golden = scene_images(task_named(model.config.task).labels)
    images, measure = ExportImages(golden, golden), None
    if data is not None:
        dataset = labelled_for(model, data)
        log_measured("labels", dataset)
        more = _more_images(model, data, calibration)
        measure = _measure_once((data, dataset), more, metric_prefix)
        images = ExportImages(_compared(dataset, golden, options), golden, calibrated)
    images = replace(images, choice=choice_images(model, targets, options, data, calibration))
    exported = export_model(
        model,
        repository,
        name,
        images,
        targets=targets,
        options=options,
        measure=measure,
        provenance=Provenance(
            sha256_of(checkpoint), folder, attribution=credits, checkpoint=checkpoint_in_words(stored)
        ),
    )
    _report(exported)
    return exported


def _as_exported(model: Network, options: ExportOptions) -> Network:
    """Return the model to export, with the experts and the control defaults that the options demand."""
    if options.experts == "shared":
        model = without_routed_experts(model)
    if model.config.mixtures:
        model = with_defaults(model, controls_of(model, options.default_top_k, options.default_threshold))
    return model


def _report(exported: Sequence[Exported]) -> None:
    for each in exported:
        log.info(f"released {each.path}")
        if each.path.parent.name.endswith("-tensorrt"):
            offer_plan(each.path)


def _more_images(
    model: Network, data: DataConfig, calibration: DataConfig | None
) -> tuple[str, Dataset] | None:
    """Return the training data for the routing baseline; None if there is none that can be read."""
    source = _training_data(calibration or data)
    if not model.config.mixtures or source is None or source == data:
        return None
    try:
        return data_name(source), labelled_for(model, source)
    except DatasetError:
        return None  # the choice of the defaults, which reads the same images, warns about it


def _measure_once(
    measured: tuple[DataConfig, Dataset], more: tuple[str, Dataset] | None, prefix: str
) -> Measure:
    """Return a function that measures a checkpoint, once for each setting of its control defaults."""
    data, dataset = measured
    known: dict[RoutingControls, Measured] = {}

    def measure(model: Network) -> Measured:
        controls = model.default_controls()
        if controls not in known:
            known[controls] = replace(_measure(model, data, dataset, prefix), training=more)
        return known[controls]

    return measure


def _measure(model: Network, data: DataConfig, dataset: Dataset, prefix: str) -> Measured:
    """Return a checkpoint's metric, its routing and all figures of the evaluation."""
    task = task_named(model.config.task)
    result = task.evaluate(model.to(compute_device()), dataset)
    model.cpu()
    log.info(f"measured on {described(data)}{_controls_in_words(model)}:\n{task.report(result)}")
    figures = task.figures(result)
    nmi = nmi_by_layer(result.routed, dataset)
    baseline = Baseline(data_name(data), result.images, result.experts, nmi)
    named = {f"{prefix}_{name}": round(figure, 4) for name, figure in figures.items()}
    report = experts_report(result.routed, dataset, baseline.data, model.default_controls())
    return Measured(dataset, None, figures[export_task(model.config).metric_name], baseline, named, report)


def _controls_in_words(model: Network) -> str:
    if not model.config.mixtures:
        return ""
    top_k, threshold = model.config.top_k, model.config.weight_threshold
    return f" at top_k {top_k}" + (f", threshold {threshold:g}" if threshold else "")


def scene_images(labels: Labels = "boxes") -> list[NDArray[np.uint8]]:
    """Return generated scenes of every kind; an artifact publishes one of them as its golden sample.

    Args:
        labels: what the model learns about objects; for keypoints and for corners, there are special scenes.
    """
    scenes = ScenesDataset(PARITY_IMAGES, 7, (384, 512), "boxes" if labels == "class" else labels)
    return [scenes.load(index).image for index in range(len(scenes))]


def choice_images(
    model: Network,
    targets: Sequence[TargetName],
    options: ExportOptions,
    data: DataConfig | None,
    calibration: DataConfig | None,
) -> ChoiceImages | str:
    """Return training images to choose the defaults of the controls on, or the reason why nothing is chosen.

    The images on which artifacts are measured are not used: their figures would come out too good.

    Args:
        data: the data on which the artifacts are measured.
        calibration: the training data.
    """
    if not model.config.mixtures or model.config.paths is not None:
        fixed = f"as trained: each path has a graph for top_k {model.config.top_k}, and one for top_k 1"
        return fixed if model.config.mixtures else ""
    if options.default_top_k is not None or options.default_threshold is not None:
        return "set by whoever exported the model"
    if options.choice_images == 0:
        return "as trained: whoever exported the model wanted no choice"
    if options.execution == "dense" or not any(target_of(target).chooses_execution for target in targets):
        return "as trained: this graph takes the same time however many experts an image leaves out"
    source, problem = _training_data(calibration or data), "there is no training data to choose by"
    if source is not None and source == data:
        problem = "the only data is that on which the artifacts are measured"
    elif source is not None:
        try:
            return ChoiceImages(data_name(source), labelled_for(model, source), options.choice_images)
        except DatasetError as error:
            problem = "the training images could not be read"  # manifests have no paths of this machine
            log.warning(error)
    log.warning(f"top_k and weight_threshold stay as trained: {problem}")
    return f"as trained: {problem}"


def _training_data(data: DataConfig | None) -> DataConfig | None:
    """Return `data`; if `data` is the generated scenes to measure on, return the scenes for training."""
    return dataset_config.SCENES_FOR_TRAINING if data == dataset_config.SCENES_UNSEEN else data


def calibration_images(
    config: ModelConfig, data: DataConfig | None, options: ExportOptions
) -> list[NDArray[np.uint8]]:
    """Return training images for the value ranges of int8, which the measured images must not influence.

    Raises:
        ConfigError: there is no data for int8, or its training images cannot be read.
    """
    if options.precision != "int8":
        return []
    data = _training_data(data)
    if data is None:
        raise ConfigError("precision int8 is calibrated on your images: give the folder with --data")
    try:
        dataset = open_for(config, data)
    except DatasetError as error:
        raise ConfigError(
            f"precision int8 is calibrated on training images, and {error}; give another --calibration-split"
        ) from error
    return _some(dataset, options.calibration_images)


def _compared(
    dataset: Dataset, golden: list[NDArray[np.uint8]], options: ExportOptions
) -> list[NDArray[np.uint8]]:
    """Return the images on which a graph is compared with its checkpoint.

    For f32, these are a few images of `dataset` and the generated scenes `golden`. For the scenes, the
    routers choose other experts than for the images of `dataset`. In other precisions, rounding can change
    which experts are chosen. Many images of `dataset` are then needed to count how often this happens, and
    the scenes are left out: on images unlike the training data, small rounding errors change the chosen
    experts and the int8 outputs far more than usual.
    """
    if options.precision == "f32":
        return _some(dataset, PARITY_IMAGES) + golden
    return _some(dataset, MORE_PARITY_IMAGES)


def _some(dataset: Dataset, count: int) -> list[NDArray[np.uint8]]:
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return [dataset.load(int(index)).image for index in indices]
