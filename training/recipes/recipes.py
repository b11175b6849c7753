"""The recipes one can ask for by name."""

from dataclasses import dataclass, field, replace

from training.config import AugmentConfig, ModelConfig, OptimizerConfig, TrainConfig
from training.data_config import DataConfig
from training.errors import ConfigError
from training.models.families.choose import parse_variant
from training.models.variants import MixtureChoice, model_config
from training.recipes.benchmarks import BENCHMARK_RECIPES
from training.recipes.overrides import TrainingChoice, chosen
from training.tasks.choose import task_named

RECIPES = ("quick", "small-data", "starter", "starter-choice", "paper", *BENCHMARK_RECIPES)
ANY_TASK = ("quick", "small-data")  # the others are papers' and data sets' for detection

# arXiv:2502.12524, table 7; mosaic, translation and colours are the same for all sizes.
PAPER_AUGMENT = {
    "n": AugmentConfig(scale=0.5, mixup=0.0, copy_paste=0.1),
    "s": AugmentConfig(scale=0.9, mixup=0.05, copy_paste=0.15),
    "m": AugmentConfig(scale=0.9, mixup=0.15, copy_paste=0.4),
    "l": AugmentConfig(scale=0.9, mixup=0.15, copy_paste=0.5),
    "x": AugmentConfig(scale=0.9, mixup=0.2, copy_paste=0.6),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user says of a run; None leaves it to the recipe."""

    class_names: tuple[str, ...]
    train_data: DataConfig
    val_data: DataConfig | None = None
    variant: str = "esmoe-n"
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    choice: TrainingChoice = field(default_factory=TrainingChoice)
    like: ModelConfig | None = None  # instead of the variant's own configuration
    input_hw: tuple[int, int] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0


def build_config(recipe: str, request: Request) -> TrainConfig:
    """The configuration of a named recipe for this request.

    Raises:
        ConfigError: no such recipe (names those there are), or values that cannot work.
    """
    task = parse_variant(request.variant).task
    if recipe in RECIPES and recipe not in ANY_TASK and task != "detect":
        raise ConfigError(
            f"recipe {recipe} trains detectors, and {request.variant} is for the task {task}: "
            f"take {' or '.join(ANY_TASK)}"
        )
    match recipe:
        case "quick":
            config = quick(request)
        case "small-data":
            config = small_data(request)
        case "starter" | "starter-choice":  # of the same pictures, parted otherwise: see own_data.py
            config = starter(request)
        case "paper":
            config = paper(request)
        case _ if recipe in BENCHMARK_RECIPES:
            config = benchmark(request)
        case _:
            raise ConfigError(f"no recipe {recipe!r}; there are: {', '.join(RECIPES)}")
    if request.epochs is not None:
        config = replace(config, epochs=request.epochs)
    if request.batch_size is not None:
        config = replace(config, batch_size=request.batch_size)
    return chosen(config, request.choice)


def _model(request: Request, default_hw: tuple[int, int]) -> ModelConfig:
    input_hw = request.input_hw or default_hw
    if request.like is not None:
        return replace(request.like, class_names=request.class_names, input_hw=input_hw)
    return model_config(request.variant, request.class_names, input_hw, request.mixture)


def small_data(request: Request) -> TrainConfig:
    """A few hundred images, from scratch: AdamW, small batches for many steps.

    A detector: 100 epochs, flips both ways, which suits images without an up, such as those from a
    microscope. A classifier: 60 epochs of random crops at 224 px, with smoothed labels.
    """
    family, _, task_name = parse_variant(request.variant)
    task = task_named(task_name)
    usual = task.defaults
    model = _model(request, usual.input_hw)
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
        seed=request.seed,
    )


def quick(request: Request) -> TrainConfig:
    """A try in minutes on two cores: small images, few epochs, no vertical flip."""
    usual = task_named(parse_variant(request.variant).task).defaults
    base = small_data(replace(request, input_hw=request.input_hw or usual.quick_hw))
    return replace(
        base,
        augment=usual.quick_augment,
        optimizer=replace(base.optimizer, warmup_epochs=1.0),
        epochs=usual.quick_epochs,
        evaluate_every_epochs=4,
    )


def starter(request: Request) -> TrainConfig:
    """Pictures of three kinds at 416 px, two of which have an up.

    60 epochs: as many as two CPU cores do in a few hours.
    """
    base = small_data(replace(request, input_hw=request.input_hw or (416, 416)))
    return replace(base, augment=replace(base.augment, flip_vertical=0.0), epochs=60)


def paper(request: Request) -> TrainConfig:
    """The papers' training, for large data: 600 epochs of SGD, augmentation by size.

    YOLOv12: arXiv:2502.12524, table 7, of whose 8 devices this is one: `batch_size` 256 is all of them.
    YOLO-Master: arXiv:2512.23273, what families/esmoe.py says of it.
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
        seed=request.seed,
        evaluate_every_epochs=10,
    )


def benchmark(request: Request) -> TrainConfig:
    """`paper` as YOLO-Master changes it for all its five benchmarks: the learning rate falls by a cosine.

    Source: arXiv:2512.23273, section 4.1, which has 256 pictures a step on 4 devices; --batch sets that.
    """
    base = paper(request)
    return replace(base, optimizer=replace(base.optimizer, schedule="cosine"))
