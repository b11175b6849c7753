"""What each command does, callable from Python as from the command line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import (
    CombinedConfig,
    DataConfig,
    FolderConfig,
    ModelConfig,
    ScenesConfig,
    TrainConfig,
    absolute,
)
from training.data.open import open_dataset
from training.data.remarks import describe_remarks
from training.data.sample import Dataset
from training.data.scenes import CLASS_NAMES as SCENE_CLASSES
from training.data.scenes import ScenesDataset
from training.errors import ConfigError
from training.evaluate.baseline import routing_baseline
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import Evaluation, check_classes, evaluate, evaluate_with
from training.evaluate.mean_ap import MeanAp
from training.evaluate.remote import RemoteDetector
from training.evaluate.validation import validation_scores, validation_sentence
from training.export.bundle import Exported, Measured, Pictures, export_model
from training.export.graph import Target
from training.export.manifest import Provenance, sha256_of
from training.export.options import USUAL, ExportOptions
from training.export.shared_only import without_routed_experts
from training.export.targets import DEFAULT_TARGETS, check_options
from training.export.tensorrt_plan import offer_plan
from training.inspection.command import Inspection, inspect
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.variants import MixtureChoice
from training.recipes.own_data import own_data
from training.recipes.recipes import Request, TrainingChoice, build_config
from training.tables.evaluation import evaluation_report
from training.trainer.checkpoint import STATE_FILE, load_model
from training.trainer.choices import Choices, check_start, with_choices
from training.trainer.distributed import ALONE, Processes
from training.trainer.loop import Outcome, Trainer, compute_device

SCENES_FOR_TRAINING = ScenesConfig(images=512, seed=0, image_hw=(256, 256))
SCENES_UNSEEN = ScenesConfig(images=96, seed=1, image_hw=(256, 256))
GENERATED = "generated scenes"  # in place of a folder, in a checkpoint's provenance
PARITY_PICTURES = 6  # from the data, beside as many generated scenes
MORE_PARITY_PICTURES = 48

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `train` takes; None leaves it to the recipe."""

    run_dir: Path
    recipe: str = "quick"
    variant: str = "esmoe-n"
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    choice: TrainingChoice = field(default_factory=TrainingChoice)
    data: Path | None = None  # None: generated scenes
    split: str = "train"
    val_split: str | None = "val"
    input_hw: tuple[int, int] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    weights: Path | None = None
    scenes: int = SCENES_FOR_TRAINING.images  # how many are generated where there is no data
    like: Path | None = None  # take model and weights from this checkpoint instead
    choices: Choices = field(default_factory=Choices)
    tensorboard: bool = False


def data_configs(options: TrainOptions) -> tuple[DataConfig, DataConfig | None]:
    """Training and validation data: the recipe's own, the folder's, or generated scenes of two seeds."""
    parted = own_data(options.recipe, options.data)
    if parted is not None:
        return parted
    if options.data is None:
        return replace(SCENES_FOR_TRAINING, images=options.scenes), SCENES_UNSEEN
    train = absolute(FolderConfig(root=str(options.data), split=options.split))
    if options.val_split is None:
        return train, None
    return train, absolute(FolderConfig(root=str(options.data), split=options.val_split))


def training_config(options: TrainOptions) -> tuple[TrainConfig, Dataset]:
    """The whole configuration of a run, and its training data.

    Raises:
        DatasetError: the data cannot be read.
        ConfigError: what is asked for cannot work.
    """
    train_data, val_data = data_configs(options)
    like = _model_like(options)
    dataset = open_dataset(train_data)
    request = Request(
        class_names=dataset.class_names,
        train_data=train_data,
        val_data=val_data,
        variant=like.variant if like else options.variant,
        mixture=options.mixture,
        choice=options.choice,
        like=like,
        input_hw=options.input_hw or (like.input_hw if like else None),
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return with_choices(build_config(options.recipe, request), options.choices), dataset


def train(options: TrainOptions, *, quiet: bool, say: Say, processes: Processes = ALONE) -> Outcome:
    """Start a run, or go on with the one in run_dir if it was stopped.

    Args:
        processes: of this run; each calls this with the same options.

    Raises:
        TrainingError: any of its children; the message says what to do.
    """
    config, dataset = training_config(options)
    resuming = (options.run_dir / STATE_FILE).exists()
    check_start(config, has_weights=resuming or bool(options.weights or options.like))
    trainer = Trainer(
        config,
        dataset,
        options.run_dir,
        initial_weights=None if resuming else options.like or options.weights,
        provenance={"recipe": options.recipe, "data": str(options.data or GENERATED)},
        processes=processes,
    )
    if resuming:
        trainer.resume()
        say(f"going on from step {trainer.position.step} in {options.run_dir}")
    elif trainer.untouched_weights:
        first = trainer.untouched_weights[0]
        say(f"{len(trainer.untouched_weights)} tensors did not fit and start anew, the first is {first}")
    validation = open_dataset(config.val_data) if config.val_data else None
    _announce(trainer, dataset, say)
    if validation is not None:
        _say_remarks("validation labels", validation, say)

    def validate(model: Detector) -> dict[str, float]:
        assert validation is not None
        return validation_scores(evaluate(model, validation, quiet=True), validation)

    return trainer.run(
        validate if validation else None,
        describe=validation_sentence,
        quiet=quiet,
        tensorboard=options.tensorboard,
    )


def _model_like(options: TrainOptions) -> ModelConfig | None:
    if options.like is None:
        return None
    if options.weights is not None or options.mixture != MixtureChoice():
        raise ConfigError(
            "a model like another has its weights, its experts and its top_k: leave --weights, --placement, "
            "--experts, --expert and --top-k out, or --like"
        )
    return load_model(options.like)[0].config


def _announce(trainer: Trainer, dataset: Dataset, say: Say) -> None:
    config = trainer.config
    if config.model.mixtures and config.model.top_k == 1:
        say("top_k 1: the one expert always weighs 1, so routers learn nothing from what is detected")
    height, width = config.model.input_hw
    precision = str(trainer.dtype or "f32").removeprefix("torch.")
    say(
        f"training {config.model.variant} on {len(dataset)} pictures of {len(dataset.class_names)} classes, "
        f"{config.epochs} epochs at {height}×{width}, {trainer.device.type} {precision}"
        f"{_among(trainer.processes)}; files in {trainer.run_dir}"
    )
    _say_remarks("training labels", dataset, say)


def _say_remarks(of: str, dataset: Dataset, say: Say) -> None:
    """One line on what of the labels is left out, ignored or clipped; none if nothing is."""
    remarks = describe_remarks(dataset.remarks)
    if remarks:
        say(f"{of}: {remarks}")


def _among(processes: Processes) -> str:
    return f", {processes.size} processes" if processes.size > 1 else ""


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
    dataset = open_dataset(_with_classes(data, model.config.class_names))
    if say:
        _say_remarks("labels", dataset, say)
    return evaluate(model.to(compute_device()), dataset, controls=controls, quiet=quiet)


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
        recipe: `starter` reads the folder as three data sets in one; None: the checkpoint's.

    Raises:
        ConfigError: the model has no mixture, cannot run with top_k experts, or does not say what it was
            trained on.
        DatasetError: no such folder, or one whose classes are not the model's.
    """
    model, provenance = load_model(checkpoint)
    trained_on = provenance.get("data", "")
    if folder is None and not trained_on:
        raise ConfigError(f"{checkpoint} does not say what it was trained on; give a folder with --data")
    if folder is None and trained_on != GENERATED:
        folder = Path(trained_on)
    data: DataConfig = SCENES_UNSEEN
    own = own_data(recipe or provenance.get("recipe", ""), folder)
    if own is not None:
        data = own.val
    elif folder is not None:
        data = absolute(FolderConfig(root=str(folder), split=split))
    controls = _controls(model, model.config.top_k if top_k is None else top_k)
    dataset = open_dataset(_with_classes(data, model.config.class_names))
    check_classes(model.config.class_names, dataset.class_names)
    return inspect(model.to(compute_device()), dataset, controls, _data_name(data), quiet=quiet)


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
        _say_remarks("labels", dataset, say)
    with RemoteDetector(url, dataset.class_names, DetectConfig(), model, backend) as remote:
        return evaluate_with(remote.detect, dataset, quiet=quiet)


def export(
    checkpoint: Path,
    repository: Path,
    name: str,
    *,
    data: DataConfig | None,
    targets: Sequence[Target] = DEFAULT_TARGETS,
    options: ExportOptions = USUAL,
    attribution: str = "",
    metric_prefix: str = "val",
    quiet: bool = False,
    say: Say,
) -> list[Exported]:
    """Measure a checkpoint on its data and say so, then export it for every target, or change nothing.

    Args:
        data: None: scenes that it has not seen, if it was trained on such; otherwise nothing is measured.

    Raises:
        ConfigError: a target or the model cannot do what the options ask for.
        ExportError: a graph does not reproduce the checkpoint; nothing was written.
    """
    model, provenance = load_model(checkpoint)
    check_options(targets, options, model.config)
    if options.experts == "shared":  # another detector, with an mAP of its own
        model = without_routed_experts(model)
    if data is None and model.config.class_names == SCENE_CLASSES:
        data = SCENES_UNSEEN
    if options.precision == "int8" and data is None:
        raise ConfigError("precision int8 is calibrated on your pictures: give the folder with --data")
    golden = scene_pictures()
    pictures, measured, metrics = Pictures(golden, golden), None, {}
    if data is not None:
        dataset = open_dataset(_with_classes(data, model.config.class_names))
        _say_remarks("labels", dataset, say)
        result = evaluate(model.to(compute_device()), dataset, quiet=quiet)
        say(f"measured on {_described(data)}:\n" + evaluation_report(result.mean_ap, result.images, result))
        model.cpu()
        baseline = routing_baseline(result, dataset, _data_name(data))
        measured = Measured(dataset, result.mean_ap.map50_95, baseline)
        metrics = {
            f"{metric_prefix}_map50": round(result.mean_ap.map50, 4),
            f"{metric_prefix}_map50_95": round(result.mean_ap.map50_95, 4),
        }
        pictures = _pictures(dataset, golden, options)
    exported = export_model(
        model,
        repository,
        name,
        pictures,
        targets=targets,
        options=options,
        measured=measured,
        provenance=Provenance(sha256_of(checkpoint), provenance.get("data", ""), metrics, attribution),
        quiet=quiet,
        say=say,
    )
    _report_released(exported, say)
    return exported


def _report_released(exported: Sequence[Exported], say: Say) -> None:
    for artefact in exported:
        say(f"released {artefact.path}")
    for artefact in exported:
        if artefact.path.parent.name.endswith("-tensorrt"):
            offer_plan(artefact.path, say=say)


def scene_pictures() -> list[NDArray[np.uint8]]:
    """Generated scenes of every regime: ours to ship, so the golden sample is one of them."""
    scenes = ScenesDataset(PARITY_PICTURES, seed=7, image_hw=(384, 512))
    return [scenes.load(index).image for index in range(len(scenes))]


def _described(data: DataConfig) -> str:
    match data:
        case ScenesConfig():
            return "generated scenes it has not seen"
        case FolderConfig():
            part = "" if data.folds == 1 else f", folds {', '.join(map(str, data.kept))} of {data.folds}"
            return f"split {data.split} of {data.root}{part}"
        case CombinedConfig():
            return " and ".join(map(_described, data.parts))


def _data_name(data: DataConfig) -> str:
    """Short, and without the folders of this machine."""
    match data:
        case ScenesConfig():
            return f"{GENERATED}, seed {data.seed}"
        case FolderConfig():
            part = "" if data.folds == 1 else f", fold {' and '.join(map(str, data.kept))} of {data.folds}"
            return f"{Path(data.root).name} {data.split}{part}"
        case CombinedConfig():
            return " + ".join(map(_data_name, data.parts))


def _pictures(dataset: Dataset, golden: list[NDArray[np.uint8]], options: ExportOptions) -> Pictures:
    """For f32 a few of the data and as many scenes, which route otherwise.

    Where rounding may move experts, their share is counted on the data alone, of which it takes many: what a
    router makes of pictures unlike any that it knows hangs on a hair, and ranges of 8 bits do not hold there.
    """
    if options.precision == "f32":
        return Pictures(_some(dataset, PARITY_PICTURES) + golden, golden)
    calibration = _some(dataset, options.calibration_images) if options.precision == "int8" else []
    return Pictures(_some(dataset, MORE_PARITY_PICTURES), golden, calibration)


def _some(dataset: Dataset, count: int) -> list[NDArray[np.uint8]]:
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return [dataset.load(int(index)).image for index in indices]


def open_for(config: ModelConfig, data: DataConfig) -> Dataset:
    """A data set for a model, whose classes it takes where labels name no order of their own."""
    return open_dataset(_with_classes(data, config.class_names))


def _with_classes(data: DataConfig, class_names: tuple[str, ...]) -> DataConfig:
    """A folder takes the model's classes, so that one whose labels name no order has theirs."""
    if isinstance(data, FolderConfig) and not data.kept_classes:
        return replace(data, class_names=class_names)
    return data
