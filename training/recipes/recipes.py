"""The recipes one can ask for by name."""

from dataclasses import dataclass, field, replace

from training.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from training.errors import ConfigError
from training.models.variants import MixtureChoice, model_config

RECIPES = ("quick", "small-data", "starter", "paper")

# YOLO-Master v0.1 multiplies the sum of its routers' terms by this before it adds it to the other losses.
V01_GAIN = 0.15


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user says of a run; None leaves it to the recipe."""

    class_names: tuple[str, ...]
    train_data: DataConfig
    val_data: DataConfig | None = None
    variant: str = "esmoe-n"
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    input_hw: tuple[int, int] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0


def build_config(recipe: str, request: Request) -> TrainConfig:
    """The configuration of a named recipe for this request.

    Raises:
        ConfigError: no such recipe (names those there are), or values that cannot work.
    """
    match recipe:
        case "quick":
            config = quick(request)
        case "small-data":
            config = small_data(request)
        case "starter":
            config = starter(request)
        case "paper":
            config = paper(request)
        case _:
            raise ConfigError(f"no recipe {recipe!r}; there are: {', '.join(RECIPES)}")
    if request.epochs is not None:
        config = replace(config, epochs=request.epochs)
    if request.batch_size is not None:
        config = replace(config, batch_size=request.batch_size)
    return config


def family_loss(variant: str) -> LossConfig:
    """The weights of a variant's losses: those of boxes and classes are the same for all.

    Raises:
        ConfigError: no family of variants is called that.
    """
    match variant.partition("-")[0]:
        case "modular" | "ultra":
            return LossConfig(balance=0.0, load=0.01 * V01_GAIN, z=0.001 * V01_GAIN)
        case "optimized":  # before v0.1 had its z-loss
            return LossConfig(balance=0.0, load=0.01 * V01_GAIN)
        case "moehead":  # the notes add it to the loss with this weight and no gain
            return LossConfig(balance=0.0, diversity=0.01)
        case "sparsight":
            return LossConfig(balance=0.0, information=0.5, coverage=0.1)
        case "esmoe" | "yolov12":  # which has no routers
            return LossConfig()
        case family:
            raise ConfigError(f"family {family!r} has no losses")


def trained_top_ks(model: ModelConfig) -> tuple[int, ...]:
    """sparsight's pictures each draw their own: one expert, the usual number twice as often, and all."""
    if not model.variant.startswith("sparsight"):
        return ()
    return (1, model.top_k, model.top_k, model.allowed_top_k[-1])


def _model(request: Request, default_hw: tuple[int, int]) -> ModelConfig:
    return model_config(request.variant, request.class_names, request.input_hw or default_hw, request.mixture)


def small_data(request: Request) -> TrainConfig:
    """A few hundred pictures, from scratch: AdamW, small batches for many steps, flips both ways.

    100 epochs. Both flips suit pictures without an up, such as those from a microscope.
    """
    model = _model(request, (640, 640))
    return TrainConfig(
        model=model,
        top_ks=trained_top_ks(model),
        train_data=request.train_data,
        val_data=request.val_data,
        augment=AugmentConfig(flip_vertical=0.5, close_mosaic_epochs=15),
        loss=family_loss(request.variant),
        optimizer=OptimizerConfig(
            name="adamw",
            lr=1.4e-3,
            final_lr=1.4e-5,
            schedule="cosine",
            momentum=0.9,
            weight_decay=0.02,
            ema_decay=0.998,
            ema_tau_steps=300,
        ),
        epochs=100,
        batch_size=8,
        seed=request.seed,
    )


def quick(request: Request) -> TrainConfig:
    """A try in minutes on two cores: small pictures, few epochs, no vertical flip."""
    base = small_data(replace(request, input_hw=request.input_hw or (256, 256)))
    return replace(
        base,
        augment=AugmentConfig(close_mosaic_epochs=3, mosaic=0.5),
        optimizer=replace(base.optimizer, warmup_epochs=1.0),
        epochs=8,
        evaluate_every_epochs=4,
    )


def starter(request: Request) -> TrainConfig:
    """The committed model: pictures of three kinds at 416 px; two of them have an up."""
    base = small_data(replace(request, input_hw=request.input_hw or (416, 416)))
    return replace(base, augment=replace(base.augment, flip_vertical=0.0))


def paper(request: Request) -> TrainConfig:
    """YOLOv12's training table (arXiv:2502.12524, table 7, size n): 600 epochs of SGD, for large data."""
    model = _model(request, (640, 640))
    return TrainConfig(
        model=model,
        top_ks=trained_top_ks(model),
        train_data=request.train_data,
        val_data=request.val_data,
        augment=AugmentConfig(),
        loss=family_loss(request.variant),
        optimizer=OptimizerConfig(),
        epochs=600,
        batch_size=32,
        seed=request.seed,
        evaluate_every_epochs=10,
    )
