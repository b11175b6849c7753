"""Measure a checkpoint, and export it for every target."""

import logging
from collections.abc import Mapping, Sequence
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
from training.export.artifact.bundle import Exported, Measured, export_model
from training.export.artifact.manifest import Provenance
from training.export.contract.spec import TargetName
from training.export.graph.shared_only import without_routed_experts
from training.export.targets.build import ExportImages
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.targets import DEFAULT_TARGETS
from training.export.targets.tensorrt_plan import offer_plan
from training.export.tasks.tasks import export_task
from training.files import sha256_of
from training.models.network import Network
from training.tasks.choose import task_named
from training.trainer.checkpoint import find_checkpoint, load_model
from training.trainer.loop import compute_device
from training.workflows import dataset_config
from training.workflows.dataset_config import data_name, described, log_measured, open_for
from training.workflows.measure import labelled_for
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
        data: labelled data to measure on. None: generated scenes that training did not use; nothing is
            measured if the model does not have the classes of the scenes.
        calibration: images for the value ranges of int8. None: the images of `data`, or, if the model was
            measured on generated scenes, the scenes of training.
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
    if options.experts == "shared":  # the figures must be those of the reduced model
        model = without_routed_experts(model)
    if data is None and model.config.class_names == SCENE_CLASSES:
        data = dataset_config.SCENES_UNSEEN
    calibrated = calibration_images(model.config, calibration or data, options)
    golden = scene_images(task_named(model.config.task).labels)
    images, measured, metrics = ExportImages(golden, golden), None, {}
    if data is not None:
        measured, figures = _measure(model, data)
        metrics = {f"{metric_prefix}_{name}": round(figure, 4) for name, figure in figures.items()}
        images = ExportImages(_compared(measured.dataset, golden, options), golden, calibrated)
    exported = export_model(
        model,
        repository,
        name,
        images,
        targets=targets,
        options=options,
        measured=measured,
        provenance=Provenance(
            sha256_of(checkpoint), folder, metrics, credits, checkpoint=checkpoint_in_words(stored)
        ),
    )
    for each in exported:
        log.info(f"released {each.path}")
        if each.path.parent.name.endswith("-tensorrt"):
            offer_plan(each.path)
    return exported


def _measure(model: Network, data: DataConfig) -> tuple[Measured, Mapping[str, float]]:
    """Return the metric and routing to compare graphs with, and every figure of the evaluation by name."""
    dataset, task = labelled_for(model, data), task_named(model.config.task)
    log_measured("labels", dataset)
    result = task.evaluate(model.to(compute_device()), dataset)
    model.cpu()
    log.info(f"measured on {described(data)}:\n{task.report(result)}")
    figures = task.figures(result)
    nmi = nmi_by_layer(result.routed, dataset)
    baseline = Baseline(data_name(data), result.images, result.experts, nmi)
    return Measured(dataset, figures[export_task(model.config).metric_name], baseline), figures


def scene_images(labels: Labels = "boxes") -> list[NDArray[np.uint8]]:
    """Return generated scenes of every kind; an artifact publishes one of them as its golden sample.

    Args:
        labels: what the model learns of objects; keypoints and corners have scenes of their own.
    """
    scenes = ScenesDataset(PARITY_IMAGES, 7, (384, 512), "boxes" if labels == "class" else labels)
    return [scenes.load(index).image for index in range(len(scenes))]


def calibration_images(
    config: ModelConfig, data: DataConfig | None, options: ExportOptions
) -> list[NDArray[np.uint8]]:
    """Return training images for the value ranges of int8, which the measured images must not influence.

    Raises:
        ConfigError: there is no data for int8, or its training images cannot be read.
    """
    if options.precision != "int8":
        return []
    if data is None:
        raise ConfigError("precision int8 is calibrated on your images: give the folder with --data")
    if data == dataset_config.SCENES_UNSEEN:
        data = dataset_config.SCENES_FOR_TRAINING
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

    For f32, these are a few images of `dataset`, and the generated scenes `golden`, for which the routers
    choose other experts than for the images of `dataset`. In other precisions, rounding can change which
    experts are chosen, and many images of `dataset` are needed to count how often. The scenes are then left
    out: on images unlike the training data, small rounding errors change the chosen experts and the int8
    outputs far more than usual.
    """
    if options.precision == "f32":
        return _some(dataset, PARITY_IMAGES) + golden
    return _some(dataset, MORE_PARITY_IMAGES)


def _some(dataset: Dataset, count: int) -> list[NDArray[np.uint8]]:
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return [dataset.load(int(index)).image for index in indices]
