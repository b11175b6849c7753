"""What a checkpoint or a service finds, and what its experts do."""

from dataclasses import replace
from pathlib import Path

from training.config_json import train_from_json
from training.data.open import open_dataset
from training.data.sample import Dataset
from training.data_config import DataConfig, FolderConfig
from training.errors import ConfigError
from training.evaluate.comparison import Comparison, compare
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import Evaluation, check_classes, evaluate, evaluate_with
from training.evaluate.mean_ap import MeanAp
from training.evaluate.remote import RemoteDetector
from training.lab.inspection.command import Inspection, inspect, require_layer
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.recipes.recipe_data import refuse_splits
from training.tasks.choose import task_named
from training.tasks.task import Result
from training.trainer.checkpoint import CONFIG_FILE, load_detector, load_model
from training.trainer.loop import compute_device
from training.workflows import dataset_config
from training.workflows.dataset_config import (
    GENERATED,
    Say,
    data_name,
    measured_data,
    open_for,
    say_remarks,
)


def evaluate_checkpoint(
    checkpoint: Path,
    data: DataConfig,
    *,
    top_k: int | None = None,
    weight_threshold: float | None = None,
    quiet: bool = False,
    say: Say | None = None,
) -> Result:
    """Measure a checkpoint on a data set by its task's metric, and what its experts do, in float32.

    Args:
        top_k: None: as trained; likewise weight_threshold.
        say: told what of the labels is left out; None: nobody is.

    Raises:
        ConfigError: the model cannot run with top_k experts; the message lists what it can run with.
    """
    model, _ = load_model(checkpoint)
    controls = _controls(model, top_k, weight_threshold)
    dataset = _labelled(model, data, say)
    task = task_named(model.config.task)
    return task.evaluate(model.to(compute_device()), dataset, controls=controls, quiet=quiet)


def evaluate_detector(
    checkpoint: Path, data: DataConfig, *, top_k: int | None = None, quiet: bool = False
) -> Evaluation:
    """Measure mAP and expert use of a detector's checkpoint as evaluate_checkpoint does.

    Raises:
        CheckpointError: it is for another task.
    """
    model, _ = load_detector(checkpoint)
    controls = _controls(model, top_k)
    dataset = _labelled(model, data, None)
    return evaluate(model.to(compute_device()), dataset, controls=controls, quiet=quiet)


def _labelled(model: Network, data: DataConfig, say: Say | None) -> Dataset:
    """Open the data; say what of its labels is left out, and refuse labels of another task."""
    dataset = open_for(model.config, data)
    if say:
        say_remarks("labels", dataset, say)
    task_named(model.config.task).check_labels(dataset)
    return dataset


def compare_checkpoints(
    checkpoints: tuple[Path, Path],
    data: DataConfig,
    *,
    top_ks: tuple[int | None, int | None] = (None, None),
    draws: int = 1000,
    quiet: bool = False,
) -> Comparison:
    """mAP of two checkpoints on a data set, and by how much the first is better, from a paired bootstrap.

    Raises:
        ConfigError: a model cannot run with that many experts.
        DatasetError: the data set is not labelled with the classes of both, or has fewer than two images.
    """
    sides = []
    for checkpoint, top_k in zip(checkpoints, top_ks, strict=True):
        model, _ = load_detector(checkpoint)
        controls = _controls(model, top_k)
        sides.append((model.to(compute_device()), controls))
    dataset = open_for(sides[0][0].config, data)
    task_named("detect").check_labels(dataset)
    return compare(sides[0], sides[1], dataset, draws=draws, quiet=quiet)


def inspect_checkpoint(
    checkpoint: Path,
    folder: Path | None = None,
    split: str | None = None,
    *,
    recipe: str | None = None,
    top_k: int | None = None,
    weight_threshold: float | None = None,
    layer: str | None = None,
    quiet: bool = False,
) -> Inspection:
    """What a checkpoint's routers do on a data set.

    Args:
        folder: of pictures and labels; None: what the run validated on, as its configuration beside the
            checkpoint says.
        split: of the folder; None: val, or without a folder what the run validated on.
        recipe: measures on what it validates on in the folder.
        top_k: None: as trained; likewise weight_threshold.
        layer: of which pictures will be drawn; None: no certain one.

    Raises:
        ConfigError: the model has no mixture, or none in that layer, cannot run with top_k experts, or does
            not say what it was trained on.
        DatasetError: no such folder, or one whose classes are not the model's.
    """
    model, provenance = load_model(checkpoint)
    require_layer(layer, model.config.mixtures)  # before every image is routed
    if folder is None and recipe is None:
        data = _data_of_run(checkpoint, provenance.get("data", ""), split)
    else:
        data = measured_data(folder, split or "val", recipe)
    controls = _controls(model, top_k, weight_threshold)
    dataset = open_for(model.config, data)
    check_classes(model.config.class_names, dataset.class_names)
    task_named(model.config.task).check_labels(dataset)
    return inspect(model.to(compute_device()), dataset, controls, data_name(data), quiet=quiet)


def _data_of_run(checkpoint: Path, trained_on: str, split: str | None) -> DataConfig:
    """What the run validated on, or another split of the folder that it trained on."""
    if not trained_on:
        raise ConfigError(f"{checkpoint} does not say what it was trained on; give a folder with --data")
    if trained_on == GENERATED:
        refuse_splits(None, [] if split is None else ["--split"], folder=False)
        return dataset_config.SCENES_UNSEEN
    path = checkpoint.with_name(CONFIG_FILE)
    if not path.is_file():
        raise ConfigError(
            f"it was trained on {trained_on}, and where that lies the run's {CONFIG_FILE} would say, "
            f"which is not beside {checkpoint}; give --data"
        )
    try:
        config = train_from_json(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; give --data") from error
    if split is None and config.val_data is not None:
        return config.val_data
    if split is not None and isinstance(config.train_data, FolderConfig):
        return replace(config.train_data, split=split)
    what = (
        "validated on nothing" if split is None else f"was of several folders, which share no split {split}"
    )
    raise ConfigError(f"the run of {checkpoint} {what}; give --data")


def _controls(model: Network, top_k: int | None, weight_threshold: float | None = None) -> RoutingControls:
    """What is asked for, and otherwise what the model is configured with."""
    config = model.config
    if top_k is not None and top_k not in config.allowed_top_k:
        allowed = ", ".join(str(each) for each in config.allowed_top_k)
        raise ConfigError(f"top_k={top_k} is none that {config.variant} can run with: {allowed}")
    return RoutingControls(
        config.top_k if top_k is None else top_k,
        config.weight_threshold if weight_threshold is None else weight_threshold,
    )


def evaluate_service(
    url: str,
    data: DataConfig,
    *,
    model: str | None = None,
    backend: str | None = None,
    quiet: bool = False,
    say: Say | None = None,
) -> tuple[MeanAp, int]:
    """mAP of what a running service answers for the pictures of a data set; say as in evaluate_checkpoint."""
    dataset = open_dataset(data)
    if say:
        say_remarks("labels", dataset, say)
    with RemoteDetector(url, dataset.class_names, DetectConfig(), model, backend) as remote:
        return evaluate_with(remote.detect, dataset, quiet=quiet)
