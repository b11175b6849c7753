"""Start a training run, or resume one."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.config import ModelConfig, TrainConfig
from training.data.class_subset import joined_by_name
from training.data.open import open_dataset
from training.data.sample import Dataset
from training.data_config import AS_FOUND, DataConfig, Reading, ScenesConfig
from training.errors import ConfigError
from training.models.families.choose import parse_variant
from training.models.network import Network
from training.models.variants import MixtureChoice
from training.recipes.overrides import Overrides
from training.recipes.recipe_data import recipe_splits, refuse_splits
from training.recipes.recipes import DEFAULT_VARIANT, Request, build_config
from training.tasks.choose import task_named
from training.trainer.checkpoint import STATE_FILE, find_checkpoint, load_model
from training.trainer.distributed import ALONE, Processes
from training.trainer.loop import Outcome, Trainer
from training.workflows import dataset_config
from training.workflows.dataset_config import (
    SCENES_FOR_TRAINING,
    labelled_by,
    log_remarks,
    measured_data,
    trained_on,
    training_data,
)
from training.workflows.preflight import before_training
from training.workflows.provenance import origin_in_words, origin_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of `train`; the recipe decides each setting that `overrides` does not contain."""

    run_dir: Path
    recipe: str = "quick"
    variant: str = DEFAULT_VARIANT
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    overrides: Overrides = field(default_factory=dict)  # such as {"epochs": 3, "optimizer.lr": 1e-3}
    data: Path | None = None  # None: generated scenes
    split: str = "train"
    val_split: str | None = "val"
    classes: tuple[str, ...] = ()  # learn only these classes of the folder; empty: every class
    reading: Reading = AS_FOUND
    weights: Path | None = None
    scenes: int = SCENES_FOR_TRAINING.images  # number of generated scenes, if there is no data
    like: Path | None = None  # take model and weights from this checkpoint instead
    tensorboard: bool = False
    device: str | None = None  # cpu, cuda or cuda:1; None: a GPU if there is one


def data_configs(options: TrainOptions) -> tuple[DataConfig, DataConfig | None]:
    """Return the training data and the validation data; a run without validation has None.

    If the recipe has its own data, both come from the recipe. Otherwise, both come from the user's folder.
    Without a folder, both are generated scenes, with different seeds.

    Raises ConfigError if the recipe needs a folder but the user gives none, or if an option selects splits
    or classes but the data does not allow this.
    """
    # A dataclass stores defaults as class attributes.
    others = [
        name for name in ("split", "val_split") if getattr(options, name) != getattr(TrainOptions, name)
    ]
    refuse_splits(options.recipe, others, folder=options.data is not None)
    selection = (options.recipe, options.classes, options.reading)
    train = training_data(options.data, options.split, *selection)
    if isinstance(train, ScenesConfig):
        return replace(train, images=options.scenes), dataset_config.SCENES_UNSEEN
    val_split = options.split if options.reading.hold_out else options.val_split
    if val_split is None and recipe_splits(options.recipe, options.data) is None:
        return train, None
    return train, measured_data(options.data, val_split or "", *selection)


def training_config(options: TrainOptions) -> tuple[TrainConfig, Dataset]:
    """Return the whole configuration of a run, and its training data.

    Raises DatasetError if the data cannot be read or lacks the labels that the task learns. Raises
    ConfigError if settings are not valid, or do not fit the recipe, the model or one another.
    """
    train_data, val_data = data_configs(options)
    like = _model_like(options)
    task = like.task if like else parse_variant(options.variant).task
    train_data = labelled_by(task, train_data)
    val_data = None if val_data is None else labelled_by(task, val_data)
    dataset = open_dataset(train_data)
    task_named(task).check_labels(dataset)
    request = Request(
        class_names=dataset.class_names,
        train_data=train_data,
        val_data=val_data,
        variant=like.variant if like else options.variant,
        mixture=options.mixture,
        overrides=options.overrides,
        skeleton=dataset.skeleton,
        like=like,
    )
    return build_config(options.recipe, request), dataset


def train(options: TrainOptions, *, processes: Processes = ALONE) -> Outcome:
    """Start a run, or resume the stopped run in run_dir; raise a TrainingError that says what to do.

    Every process of the run calls this function with the same options.
    """
    config, dataset = training_config(options)
    resuming = (options.run_dir / STATE_FILE).exists()
    if config.freeze_batch_norm and not (resuming or options.weights or options.like):
        raise ConfigError("--freeze-bn keeps the statistics of a trained model: give its --weights")
    weights = None if resuming else options.like or options.weights
    begun_from = None if weights is None else find_checkpoint(weights)
    origin = {} if begun_from is None else origin_of(begun_from)
    if options.device is not None:
        processes = processes.on(options.device)
    data = trained_on(options.data, config.train_data, options.recipe)
    trainer = Trainer(
        config,
        dataset,
        options.run_dir,
        initial_weights=begun_from,
        provenance={**origin, "recipe": options.recipe, "data": data},
        processes=processes,
    )
    if origin:
        log.info(origin_in_words(origin))
    if resuming:
        trainer.resume()
        log.info(f"resuming from step {trainer.position.step} in {options.run_dir}")
    validation = None
    if config.val_data is not None:
        validation = joined_by_name(open_dataset(config.val_data), config.model.class_names)
    _announce(trainer, dataset)
    if validation is not None:
        log_remarks("validation labels", validation)
    if processes.first and not resuming:  # a resumed run has passed
        before_training(config, options.run_dir, dataset, validation)
    task = trainer.task

    def validate(model: Network) -> Mapping[str, float]:
        assert validation is not None
        return task.scores(task.evaluate(model, validation), validation)

    return trainer.run(
        validate if validation else None, describe=task.sentence, tensorboard=options.tensorboard
    )


def _model_like(options: TrainOptions) -> ModelConfig | None:
    if options.like is None:
        return None
    if options.weights is not None or options.mixture != MixtureChoice():
        raise ConfigError(
            "--like takes weights, experts and top_k from its checkpoint: leave --weights, --placement, "
            "--experts, --expert, --router and --top-k out, or --like"
        )
    return load_model(find_checkpoint(options.like))[0].config


def _announce(trainer: Trainer, dataset: Dataset) -> None:
    config = trainer.config
    if config.model.mixtures and config.model.top_k == 1:
        log.info(
            "top_k 1: the weight of the expert is always 1, so routers learn nothing from the detections"
        )
    height, width = config.model.input_hw
    among = f", {trainer.processes.size} processes" if trainer.processes.size > 1 else ""
    precision = str(trainer.dtype or "f32").removeprefix("torch.")
    log.info(
        f"training {config.model.variant} on {len(dataset)} images of {len(dataset.class_names)} classes, "
        f"{config.epochs} epochs at {height}×{width}, {trainer.device.type} {precision}{among}; "
        f"files in {trainer.run_dir}"
    )
    log_remarks("training labels", dataset)
