"""Measure checkpoints and running services."""

import logging
from contextlib import closing
from pathlib import Path

from training.data.class_subset import joined_by_name
from training.data.open import open_dataset
from training.data.sample import Dataset
from training.data_config import DataConfig
from training.errors import ConfigError
from training.evaluate.comparison import Comparison, compare
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import Evaluation, evaluate, evaluate_with
from training.evaluate.objects.kinds import kind_for
from training.evaluate.remote import RemoteDetector, ServedModel
from training.evaluate.routed import Result
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.skeleton import Skeleton
from training.tasks.choose import task_named
from training.trainer.checkpoint import find_checkpoint, load_detector, load_model
from training.trainer.loop import compute_device
from training.workflows.dataset_config import (
    check_keypoints,
    described,
    labelled_by,
    log_measured,
    open_for,
)

log = logging.getLogger(__name__)


def evaluate_checkpoint(
    checkpoint: Path, data: DataConfig, *, top_k: int | None = None, weight_threshold: float | None = None
) -> Result:
    """Return a checkpoint's metric on a data set and how its experts are used, in float32.

    If top_k or weight_threshold is None, the value that was set in training is used. The classes of model
    and data are matched by name. The function raises the errors of controls_of and labelled_for.
    """
    model, _ = load_model(find_checkpoint(checkpoint))
    controls = controls_of(model, top_k, weight_threshold)
    dataset = labelled_for(model, data)
    log.info(f"measuring on {described(data)}")
    log_measured("labels", dataset)
    return task_named(model.config.task).evaluate(model.to(compute_device()), dataset, controls=controls)


def evaluate_detector(checkpoint: Path, data: DataConfig, *, top_k: int | None = None) -> Evaluation:
    """Return a detector's mAP and how its experts are used; raise CheckpointError for another task."""
    model, controls = _load(checkpoint, top_k)
    return evaluate(model, labelled_for(model, data), controls=controls)


def _load(checkpoint: Path, top_k: int | None) -> tuple[Detector, RoutingControls]:
    model, _ = load_detector(find_checkpoint(checkpoint))
    controls = controls_of(model, top_k)
    return model.to(compute_device()), controls


def labelled_for(model: Network, data: DataConfig) -> Dataset:
    """Open a data set for a model.

    Raises:
        DatasetError: the labels are for another task, or the data and the model have no class in common.
    """
    dataset = open_for(model.config, data)
    task_named(model.config.task).check_labels(dataset)
    return dataset


def compare_checkpoints(
    checkpoints: tuple[Path, Path],
    data: DataConfig,
    *,
    top_ks: tuple[int | None, int | None] = (None, None),
    draws: int = 1000,
) -> Comparison:
    """Return the mAP of two checkpoints and the difference, from a paired bootstrap with `draws` resamples.

    Raises:
        ConfigError: a model cannot run with its value in top_ks, or the models are for different tasks.
        DatasetError: the data set's classes or keypoints do not suit both checkpoints, or it has fewer than
            two images.
    """
    first, second = map(_load, checkpoints, top_ks)
    dataset = labelled_for(first[0], data)
    check_keypoints(second[0].config.skeleton, dataset.skeleton)
    log.info(f"measuring on {described(data)}")
    return compare(first, second, dataset, draws=draws)


def controls_of(model: Network, top_k: int | None, weight_threshold: float | None = None) -> RoutingControls:
    """Return routing controls; raise ConfigError for an invalid top_k.

    If an argument is None, the value that was set in training is used.
    """
    config = model.config
    if top_k is not None and top_k not in config.allowed_top_k:
        allowed = ", ".join(map(str, config.allowed_top_k))
        raise ConfigError(f"top_k={top_k}: {config.variant} can run with {allowed}")
    return RoutingControls(
        config.top_k if top_k is None else top_k,
        config.weight_threshold if weight_threshold is None else weight_threshold,
    )


def evaluate_service(
    url: str, data: DataConfig, *, model: str | None = None, backend: str | None = None
) -> Evaluation:
    """Return the metric of a running service on a data set; their classes are matched by name.

    Raises:
        ConfigError: the served model finds no objects, or the data has only classes of whole images.
        DatasetError: the data and the model have no class in common, or the data lacks the labels for what
            the model finds: masks, oriented boxes, or the same keypoints in the same order.
    """
    with closing(RemoteDetector(url, DetectConfig(), model, backend)) as remote:
        served = remote.served_model()
        if served.task == "classify":
            raise ConfigError("--url measures detectors, but the model classifies whole images; name another")
        dataset = open_dataset(labelled_by(served.task, data))
        if len(dataset) and dataset.load(0).image_class is not None:
            raise ConfigError("--url measures a detector: give data with boxes")
        check_keypoints(_skeleton_of(served), dataset.skeleton)
        dataset = joined_by_name(dataset, served.class_names)
        log_measured("labels", dataset)
        kind = kind_for(served.task, dataset.skeleton)
        return evaluate_with(remote.detect, dataset, served.task, kind)


def _skeleton_of(served: ServedModel) -> Skeleton | None:
    """Return the keypoints of a served model, without mirrored pairs, which the service does not report."""
    names = served.keypoints
    return Skeleton(names=names, flip_ids=tuple(range(len(names)))) if names else None
