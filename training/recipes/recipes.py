"""The recipes, each of which is a function that returns a training configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from training.config import AugmentConfig, ModelConfig, OptimizerConfig, TrainConfig
from training.data_config import DataConfig
from training.errors import ConfigError
from training.models.families.choose import parse_variant
from training.models.variants import MixtureChoice, model_config
from training.recipes.overrides import Overrides, override
from training.recipes.recipe_data import BENCHMARK_RECIPES
from training.skeleton import Skeleton
from training.tasks.choose import task_named

DEFAULT_VARIANT = "sparsight-n"  # if none is named
ANY_TASK = ("quick", "small-data")  # the other recipes follow a paper or a data set for detection

# arXiv:2502.12524, table 7; mosaic, translation and colour shifts are the same for all sizes.
PAPER_AUGMENT = {
    "n": AugmentConfig(scale=0.5, mixup=0.0, copy_paste=0.1),
    "s": AugmentConfig(scale=0.9, mixup=0.05, copy_paste=0.15),
    "m": AugmentConfig(scale=0.9, mixup=0.15, copy_paste=0.4),
    "l": AugmentConfig(scale=0.9, mixup=0.15, copy_paste=0.5),
    "x": AugmentConfig(scale=0.9, mixup=0.2, copy_paste=0.6),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings of a run that a user chooses; the recipe decides all other settings."""

    class_names: tuple[str, ...]
    train_data: DataConfig
    val_data: DataConfig | None = None
    variant: str = DEFAULT_VARIANT
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    overrides: Overrides = field(default_factory=dict)  # new values for settings of the recipe
    skeleton: Skeleton | None = None  # the keypoints of the training data
    like: ModelConfig | None = None  # a model configuration that replaces the variant's configuration


def _model(request: Request, default_hw: tuple[int, int]) -> ModelConfig:
    if request.like is not None:
        skeleton = request.skeleton if request.like.task == "pose" else None
        return replace(request.like, class_names=request.class_names, skeleton=skeleton)
    return model_config(request.variant, request.class_names, default_hw, request.mixture, request.skeleton)


def small_data(request: Request, default_hw: tuple[int, int] | None = None) -> TrainConfig:
    """Return a configuration for training from scratch on a few hundred images.

    Training takes many steps with small batches; the optimizer is AdamW. Detectors train for 100 epochs.
    Classifiers train for 60 epochs, on random crops at 224 px with smoothed labels. Images are not flipped
    vertically. If up and down do not matter, for example under a microscope, set flip_vertical to 0.5.
    """
    family, _, task_name = parse_variant(request.variant)
    task = task_named(task_name)
    usual = task.defaults
    model = _model(request, default_hw or usual.input_hw)
    return TrainConfig(
        model=model,
        top_ks=family.trained_top_ks(model),
        train_data=request.train_data,
        val_data=request.val_data,
        augment=usual.augment,
        loss=task.losses(family.losses),
        optimizer=usual.optimizer,
        epochs=usual.epochs,
        batch_size=usual.batch_size,
    )


def quick(request: Request) -> TrainConfig:
    """Return a configuration for a trial with small images that takes minutes on two CPU cores."""
    usual = task_named(parse_variant(request.variant).task).defaults
    base = small_data(request, usual.quick_hw)
    return replace(
        base,
        augment=usual.quick_augment,
        optimizer=replace(base.optimizer, warmup_epochs=1.0),
        epochs=usual.quick_epochs,
        evaluate_every_epochs=4,
    )


def starter(request: Request) -> TrainConfig:
    """Return the configuration of the starter model: 60 epochs at 416 px, a few hours on two CPU cores."""
    return replace(small_data(request, (416, 416)), epochs=60)


def paper(request: Request) -> TrainConfig:
    """Return the papers' configuration for large data: 600 epochs of SGD.

    The strength of the augmentation depends on the model size. YOLOv12 was trained with 256 images per step
    on 8 devices. The batch size here is 32, as on one of these devices.

    Source: YOLOv12, arXiv:2502.12524, table 7. Losses and schedule of esmoe: arXiv:2512.23273.
    """
    model = _model(request, (640, 640))
    family, size, _ = parse_variant(request.variant)
    return TrainConfig(
        model=model,
        top_ks=family.trained_top_ks(model),
        train_data=request.train_data,
        val_data=request.val_data,
        augment=PAPER_AUGMENT[size],
        loss=family.paper_losses or family.losses,
        optimizer=OptimizerConfig(schedule=family.paper_schedule),
        epochs=600,
        batch_size=32,
        evaluate_every_epochs=10,
    )


def benchmark(request: Request) -> TrainConfig:
    """Return the configuration of `paper` with a cosine learning-rate schedule, for YOLO-Master's benchmarks.

    The paper trains with 256 images per step on 4 devices; for this batch size, use --batch 256.

    Source: arXiv:2512.23273, section 4.1.
    """
    base = paper(request)
    return replace(base, optimizer=replace(base.optimizer, schedule="cosine"))


_CONFIGURE: Mapping[str, Callable[[Request], TrainConfig]] = {
    "quick": quick,
    "small-data": small_data,
    "starter": starter,
    "starter-choice": starter,  # the same images, split differently: see recipe_data.py
    "paper": paper,
    **dict.fromkeys(BENCHMARK_RECIPES, benchmark),
}
RECIPES = tuple(_CONFIGURE)


def build_config(recipe: str, request: Request) -> TrainConfig:
    """Return the training configuration that the recipe named `recipe` makes for a request.

    Raises:
        ConfigError: the recipe does not exist, the recipe is for another task, or values contradict one
            another.
    """
    if recipe not in _CONFIGURE:
        raise ConfigError(f"no recipe {recipe!r}; there are: {', '.join(RECIPES)}")
    task = parse_variant(request.variant).task
    if recipe not in ANY_TASK and task != "detect":
        raise ConfigError(
            f"recipe {recipe} trains detectors, and {request.variant} is for the task {task}: "
            f"take {' or '.join(ANY_TASK)}"
        )
    return override(_CONFIGURE[recipe](request), request.overrides)
