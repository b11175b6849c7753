"""The recipes one can ask for by name."""

from dataclasses import dataclass, field, replace

from training.config import AugmentConfig, LossConfig, ModelConfig, OptimizerConfig, TrainConfig
from training.data_config import DataConfig
from training.errors import ConfigError
from training.models.variants import MixtureChoice, model_config
from training.recipes.benchmarks import BENCHMARK_RECIPES
from training.recipes.overrides import Overrides, override

DEFAULT_VARIANT = "sparsight-n"  # wherever none is named
RECIPES = ("quick", "small-data", "starter", "starter-choice", "paper", *BENCHMARK_RECIPES)

# YOLO-Master v0.1 multiplies the sum of its routers' terms by this before it adds it to the other losses.
V01_GAIN = 0.15

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
    """What a user says of a run; the recipe decides the rest."""

    class_names: tuple[str, ...]
    train_data: DataConfig
    val_data: DataConfig | None = None
    variant: str = DEFAULT_VARIANT
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    overrides: Overrides = field(default_factory=dict)  # of what the recipe decides
    like: ModelConfig | None = None  # instead of the variant's own configuration


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
        case "starter" | "starter-choice":  # of the same pictures, parted otherwise: see own_data.py
            config = starter(request)
        case "paper":
            config = paper(request)
        case _ if recipe in BENCHMARK_RECIPES:
            config = benchmark(request)
        case _:
            raise ConfigError(f"no recipe {recipe!r}; there are: {', '.join(RECIPES)}")
    return override(config, request.overrides)


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
    if request.like is not None:
        return replace(request.like, class_names=request.class_names)
    return model_config(request.variant, request.class_names, default_hw, request.mixture)


def small_data(request: Request, default_hw: tuple[int, int] = (640, 640)) -> TrainConfig:
    """A few hundred images, from scratch: AdamW, small batches for many steps. 100 epochs.

    Images stay upright: those without an up, such as a microscope's, want flip_vertical 0.5.
    """
    model = _model(request, default_hw)
    return TrainConfig(
        model=model,
        top_ks=trained_top_ks(model),
        train_data=request.train_data,
        val_data=request.val_data,
        augment=AugmentConfig(close_mosaic_epochs=15),
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
    )


def quick(request: Request) -> TrainConfig:
    """A try in minutes on two cores: small images, few epochs."""
    base = small_data(request, (256, 256))
    return replace(
        base,
        augment=AugmentConfig(close_mosaic_epochs=3, mosaic=0.5),
        optimizer=replace(base.optimizer, warmup_epochs=1.0),
        epochs=8,
        evaluate_every_epochs=4,
    )


def starter(request: Request) -> TrainConfig:
    """Images of three kinds at 416 px; 60 epochs: as many as two CPU cores do in a few hours."""
    return replace(small_data(request, (416, 416)), epochs=60)


def paper(request: Request) -> TrainConfig:
    """The papers' training, for large data: 600 epochs of SGD, augmentation by size.

    YOLOv12: arXiv:2502.12524, table 7, of whose 8 devices this is one: `batch_size` 256 is all of them.
    YOLO-Master (esmoe): arXiv:2512.23273, section 4.1 and the last line of table 8: the rate falls as a
    cosine, and no DFL stands beside a balance of 1.5.
    """
    model = _model(request, (640, 640))
    master = request.variant.startswith("esmoe")
    loss = family_loss(request.variant)
    return TrainConfig(
        model=model,
        top_ks=trained_top_ks(model),
        train_data=request.train_data,
        val_data=request.val_data,
        augment=PAPER_AUGMENT[request.variant.rpartition("-")[2]],
        loss=replace(loss, dfl=0.0) if master else loss,
        optimizer=OptimizerConfig(schedule="cosine" if master else "linear"),
        epochs=600,
        batch_size=32,
        evaluate_every_epochs=10,
    )


def benchmark(request: Request) -> TrainConfig:
    """`paper` as YOLO-Master changes it for all its five benchmarks: the learning rate falls by a cosine.

    Source: arXiv:2512.23273, section 4.1, which has 256 pictures a step on 4 devices; --batch sets that.
    """
    base = paper(request)
    return replace(base, optimizer=replace(base.optimizer, schedule="cosine"))
