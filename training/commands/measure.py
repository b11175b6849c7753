"""What a checkpoint or a service finds, and what its experts do."""

from pathlib import Path

from training.commands import given_data
from training.commands.given_data import GENERATED, Say, data_name, open_for, say_remarks
from training.config import (
    DataConfig,
    FolderConfig,
    absolute,
)
from training.data.open import open_dataset
from training.errors import ConfigError
from training.evaluate.comparison import Comparison, compare
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import Evaluation, check_classes, evaluate, evaluate_with
from training.evaluate.mean_ap import MeanAp
from training.evaluate.remote import RemoteDetector
from training.inspection.command import Inspection, inspect
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.recipes.own_data import own_data
from training.trainer.checkpoint import load_model
from training.trainer.loop import compute_device


def evaluate_checkpoint(
    checkpoint: Path,
    data: DataConfig,
    *,
    top_k: int | None = None,
    quiet: bool = False,
    say: Say | None = None,
) -> Evaluation:
    """mAP and expert use of a checkpoint on a data set, in float32.

    Args:
        say: told what of the labels is left out; None: nobody is.

    Raises:
        ConfigError: the model cannot run with top_k experts; the message lists what it can run with.
    """
    model, _ = load_model(checkpoint)
    controls = None if top_k is None else _controls(model, top_k)
    dataset = open_for(model.config, data)
    if say:
        say_remarks("labels", dataset, say)
    return evaluate(model.to(compute_device()), dataset, controls=controls, quiet=quiet)


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
        model, _ = load_model(checkpoint)
        controls = _controls(model, model.config.top_k if top_k is None else top_k)
        sides.append((model.to(compute_device()), controls))
    dataset = open_for(sides[0][0].config, data)
    return compare(sides[0], sides[1], dataset, draws=draws, quiet=quiet)


def inspect_checkpoint(
    checkpoint: Path,
    folder: Path | None = None,
    split: str = "val",
    *,
    recipe: str | None = None,
    top_k: int | None = None,
    quiet: bool = False,
) -> Inspection:
    """What a checkpoint's routers do on a data set.

    Args:
        folder: of pictures and labels; None: what the checkpoint was trained on.
        recipe: measures on what it validates on in the folder; None: as the checkpoint was trained, if the
            folder is that one's.

    Raises:
        ConfigError: the model has no mixture, cannot run with top_k experts, or does not say what it was
            trained on.
        DatasetError: no such folder, or one whose classes are not the model's.
    """
    model, provenance = load_model(checkpoint)
    trained_on = provenance.get("data", "")
    if folder is None and not trained_on:
        raise ConfigError(f"{checkpoint} does not say what it was trained on; give a folder with --data")
    if folder is None:
        recipe = recipe or provenance.get("recipe")
        if trained_on != GENERATED:
            folder = Path(trained_on)
            if not folder.is_dir():
                raise ConfigError(f"it was trained on {trained_on!r}, which is not here; give --data")
    data: DataConfig = given_data.SCENES_UNSEEN
    own = own_data(recipe or "", folder)
    if own is not None:
        data = own.val
    elif folder is not None:
        data = absolute(FolderConfig(root=str(folder), split=split))
    controls = _controls(model, model.config.top_k if top_k is None else top_k)
    dataset = open_for(model.config, data)
    check_classes(model.config.class_names, dataset.class_names)
    return inspect(model.to(compute_device()), dataset, controls, data_name(data), quiet=quiet)


def _controls(model: Detector, top_k: int) -> RoutingControls:
    """The threshold that it was configured with, and this many experts."""
    config = model.config
    if top_k not in config.allowed_top_k:
        allowed = ", ".join(str(each) for each in config.allowed_top_k)
        raise ConfigError(f"top_k={top_k} is none that {config.variant} can run with: {allowed}")
    return RoutingControls(top_k, config.weight_threshold)


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
