"""What a checkpoint or a service finds."""

from pathlib import Path

from training.data.open import open_dataset
from training.data.sample import Dataset
from training.data_config import DataConfig
from training.errors import ConfigError
from training.evaluate.comparison import Comparison, compare
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import Evaluation, evaluate, evaluate_with
from training.evaluate.mean_ap import MeanAp
from training.evaluate.remote import RemoteDetector
from training.evaluate.routed import Result
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.tasks.choose import task_named
from training.trainer.checkpoint import load_detector, load_model
from training.trainer.loop import compute_device
from training.workflows.dataset_config import Say, open_for, say_remarks


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
    controls = controls_of(model, top_k, weight_threshold)
    dataset = _labelled(model, data, say)
    task = task_named(model.config.task)
    return task.evaluate(model.to(compute_device()), dataset, controls=controls)


def evaluate_detector(
    checkpoint: Path, data: DataConfig, *, top_k: int | None = None, quiet: bool = False
) -> Evaluation:
    """Measure mAP and expert use of a detector's checkpoint as evaluate_checkpoint does.

    Raises:
        CheckpointError: it is for another task.
    """
    model, _ = load_detector(checkpoint)
    controls = controls_of(model, top_k)
    dataset = _labelled(model, data, None)
    return evaluate(model.to(compute_device()), dataset, controls=controls)


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
        controls = controls_of(model, top_k)
        sides.append((model.to(compute_device()), controls))
    dataset = open_for(sides[0][0].config, data)
    task_named("detect").check_labels(dataset)
    return compare(sides[0], sides[1], dataset, draws=draws)


def controls_of(model: Network, top_k: int | None, weight_threshold: float | None = None) -> RoutingControls:
    """Return what is asked for, and otherwise what the model is configured with.

    Raises:
        ConfigError: the model cannot run with top_k experts; the message lists what it can run with.
    """
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
        return evaluate_with(remote.detect, dataset)
