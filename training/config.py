"""Every setting of a training run, as frozen dataclasses that raise ConfigError on values that cannot work.

Settings of the data are in data_config. A recipe builds a whole TrainConfig; dataclasses.replace changes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from pydantic import Discriminator

from training.data_config import DataConfig
from training.errors import ConfigError

STRIDES = (8, 16, 32)
TaskName = Literal["detect", "classify"]
TASK_SUFFIXES: dict[TaskName, str] = {"detect": "", "classify": "-cls"}  # of variant names
TASKS = tuple(TASK_SUFFIXES)
Resize = Literal["letterbox", "center_crop"]  # how an image becomes the model input; names as in manifests
ExpertKind = Literal["depthwise", "simple", "ghost", "inverted"]
RouterKind = Literal["pooled", "moments", "spatial", "adaptive", "ultra"]
ComputePrecision = Literal["auto", "f32", "bf16", "f16"]
EXPERT_KINDS: tuple[ExpertKind, ...] = get_args(ExpertKind)
ROUTER_KINDS: tuple[RouterKind, ...] = get_args(RouterKind)
PAD_VALUE = 114  # grey of the letterbox's padding; near the mean of natural images, so that its edge is weak
MAX_SEED = 2**32 - 1  # a step's random numbers are seeded with seed × 10⁹ + step, which must fit into 64 bits


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, f"{name} {value!r} is none of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """The router of a mixture layer: the part that scores the experts."""

    kind: RouterKind = "pooled"
    reduction: int = 8  # hidden width = channels / this, at least min_hidden
    min_hidden: int = 8
    pool: int = 4  # spatial and ultra routers: side of the square of cells that is averaged before routing
    init_std: float | None = None  # deviation of the last layer's initial weights; None: torch's default
    noise: float = 0.0  # standard deviation of normal noise on the logits, in training only
    dropout: float = 0.0  # pooled routers only, in training only
    temperature: float = 1.0  # logits are divided by this
    learn_temperature: bool = False

    def __post_init__(self) -> None:
        _require_one_of("router", self.kind, ROUTER_KINDS)
        for name in ("reduction", "min_hidden", "pool"):
            _require(getattr(self, name) >= 1, f"{name}={getattr(self, name)} must be at least 1")
        _require(self.init_std is None or self.init_std > 0, f"init_std={self.init_std} must be positive")
        _require(self.noise >= 0, f"noise={self.noise} is negative")
        _require(0 <= self.dropout < 1, f"dropout={self.dropout} must be in 0..1, 1 excluded")
        _require(self.temperature > 0, f"temperature={self.temperature} must be positive")


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """One mixture layer. Defaults: ES-MoE, arXiv:2512.23273."""

    num_experts: int = 4
    top_k: int = 2  # train with at least 2: at 1 the gate is always 1, and the router gets no gradient
    weight_threshold: float = 0.0  # experts other than the best run only if their probability reaches this
    gate_epsilon: float = 0.0  # added to the sum that weights are divided by; 1e-6 in YOLO-Master v0.1
    router: RouterConfig = field(default_factory=RouterConfig)
    expert: ExpertKind = "depthwise"
    kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)  # of each expert
    expert_ratio: float = 2.0  # hidden width / channels, of simple and inverted experts
    norm: Literal["batch", "group"] = "batch"  # of experts and the shared expert
    shared_kernel: int | None = None  # kernel of a shared expert, which always runs; None: no shared expert
    residual: bool = False  # add the layer's input to its output
    activate: bool = True  # batch norm and SiLU on the weighted sum
    train_dispatch: Literal["dense", "grouped"] = "dense"  # which images experts see in training

    def __post_init__(self) -> None:
        _require(self.num_experts >= 1, f"num_experts={self.num_experts} must be at least 1")
        _require(
            self.min_top_k <= self.top_k <= self.num_experts,
            f"top_k={self.top_k} is outside {self.min_top_k}..num_experts={self.num_experts}",
        )
        _require(
            0 <= self.weight_threshold <= 1,
            f"weight_threshold={self.weight_threshold} is not a probability",
        )
        _require(self.gate_epsilon >= 0, f"gate_epsilon={self.gate_epsilon} is negative")
        _require_one_of("expert", self.expert, EXPERT_KINDS)
        _require_one_of("norm", self.norm, ("batch", "group"))
        _require_one_of("train_dispatch", self.train_dispatch, ("dense", "grouped"))
        _require(
            len(self.kernel_sizes) == self.num_experts,
            f"kernel_sizes={self.kernel_sizes} must name one kernel for each of {self.num_experts} experts",
        )
        _require(
            all(k >= 1 and k % 2 == 1 for k in (*self.kernel_sizes, self.shared_kernel or 1)),
            f"kernel_sizes={self.kernel_sizes} and shared_kernel={self.shared_kernel} must be odd, "
            "so that maps keep their size",
        )
        _require(self.expert_ratio > 0, f"expert_ratio={self.expert_ratio} must be positive")

    @property
    def min_top_k(self) -> int:
        """Return the smallest allowed top_k: 1, or 0 if a shared expert can answer alone."""
        return 1 if self.shared_kernel is None else 0


STAGES = ("p2", "p3", "p4", "p5")  # of the backbone, by stride: 4, 8, 16, 32
LEVELS = ("p3", "p4", "p5")  # of neck and head
BACKBONE_PLACES = tuple(f"backbone.{stage}" for stage in STAGES)
MIXTURE_PLACES = (*BACKBONE_PLACES, *(f"neck.{level}" for level in LEVELS))
PLAIN_PLACES = tuple(
    place for place in MIXTURE_PLACES if place not in ("backbone.p2", "backbone.p3")
)  # widen
HEAD_PLACES = tuple(f"head.{level}" for level in LEVELS)


def places_of(task: TaskName) -> tuple[str, ...]:
    """Return the places in a task's network that may hold a mixture layer."""
    return BACKBONE_PLACES if task == "classify" else (*MIXTURE_PLACES, *HEAD_PLACES)  # no neck


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network: its task, widths and depths, and its mixture layers, if any."""

    variant: str = "yolov12-n"
    task: TaskName = "detect"
    class_names: tuple[str, ...] = ()
    input_hw: tuple[int, int] = (640, 640)
    depth: float = 0.5  # factor on the number of blocks in a stage
    width: float = 0.25  # factor on channels
    max_channels: int = 1024  # limit on channels before the width factor is applied
    reg_max: int = 16  # bins of the distribution of each box side
    neck: Literal["area", "c3k"] = "area"
    deep_stages: bool = False  # chain cross stages instead of bottlenecks in the backbone's split stages
    scaled_residual: bool = False  # attention stages add their input to their output × a learned scale
    mlp_ratio: float = 2.0  # hidden width / channels of the MLPs after attention
    light: bool = False  # make box branches and the downsampling of p3 and p4 depthwise-separable
    plain_stages: tuple[str, ...] = ()  # places without a block of their own; the mixture there replaces it
    mixtures: Mapping[str, MixtureConfig] = field(default_factory=dict)  # by place, such as backbone.p4

    def __post_init__(self) -> None:
        _require_one_of("task", self.task, TASKS)
        _require(len(self.class_names) > 0, "class_names is empty: a model needs at least one class")
        _require(
            len(set(self.class_names)) == len(self.class_names), f"class_names repeat: {self.class_names}"
        )
        _require(
            all(side >= 64 and side % 32 == 0 for side in self.input_hw),
            f"input_hw={self.input_hw}: both sides must be multiples of 32, at least 64",
        )
        # With multiples of 32, area attention can also cut the stride-16 map into 4 strips of equal length.
        _require(self.reg_max >= 2, f"reg_max={self.reg_max} must be at least 2")
        _require_one_of("neck", self.neck, ("area", "c3k"))
        _require(self.mlp_ratio > 0, f"mlp_ratio={self.mlp_ratio} must be positive")
        for stage in self.plain_stages:
            _require_one_of("plain stage", stage, PLAIN_PLACES)
        self._check_mixtures()

    def _check_mixtures(self) -> None:
        for place in self.mixtures:
            _require_one_of("mixture place", place, places_of(self.task))
        in_head = set(HEAD_PLACES) & set(self.mixtures)
        _require(len(in_head) in (0, 3), f"a mixture head needs all of {HEAD_PLACES}, not {sorted(in_head)}")
        for place in sorted(in_head):
            mixture = self.mixtures[place]
            bare = mixture.shared_kernel is None and not mixture.residual and not mixture.activate
            _require(bare, f"{place}: experts of a head answer alone, without shared expert or activation")
        for name in ("top_k", "weight_threshold"):
            values = {getattr(mixture, name) for mixture in self.mixtures.values()}
            _require(len(values) <= 1, f"mixtures disagree on {name}: {sorted(values)}; one control sets all")

    @property
    def top_k(self) -> int:
        """Return the default number of experts per image and layer; 1 without mixtures."""
        return next((mixture.top_k for mixture in self.mixtures.values()), 1)

    @property
    def weight_threshold(self) -> float:
        """Return the default probability below which an expert other than the best does not run."""
        return next((mixture.weight_threshold for mixture in self.mixtures.values()), 0.0)

    @property
    def allowed_top_k(self) -> range:
        """Return the top_k values that a request may set; the largest is the most experts of any layer.

        The smallest is one that every layer allows. Without mixtures, only 1 is allowed.
        """
        if not self.mixtures:
            return range(1, 2)
        lowest = max(mixture.min_top_k for mixture in self.mixtures.values())
        return range(lowest, max(mixture.num_experts for mixture in self.mixtures.values()) + 1)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random augmentation of training images; zero turns an augmentation off.

    Defaults: arXiv:2502.12524, table 7, size n, except copy_paste, which recipes set.
    """

    mosaic: float = 1.0  # probability
    mixup: float = 0.0  # probability that a sample is blended with another
    copy_paste: float = 0.0  # probability that objects of another image are pasted on
    close_mosaic_epochs: int = 10  # so many last epochs run without mosaic, mixup and copy_paste
    hsv_hue: float = 0.015  # fraction of the full circle
    hsv_saturation: float = 0.7  # the gain is uniform in 1 ± this
    hsv_value: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1  # largest shift, as a fraction of the model input
    scale: float = 0.5  # the gain is uniform in 1 ± this
    flip_horizontal: float = 0.5  # probability
    flip_vertical: float = 0.0
    crop_area: float = 0.5  # classification: smallest share of the image's area in a random crop
    crop_aspect: float = 4 / 3  # classification: largest factor on the crop's aspect ratio

    def __post_init__(self) -> None:
        for name in ("mosaic", "mixup", "copy_paste", "flip_horizontal", "flip_vertical"):
            _require(0 <= getattr(self, name) <= 1, f"{name}={getattr(self, name)} is not a probability")
        _require(0 <= self.scale < 1, f"scale={self.scale} must be in 0..1, 1 excluded")
        _require(0 < self.crop_area <= 1, f"crop_area={self.crop_area} must be in 0..1, 0 excluded")
        _require(self.crop_aspect >= 1, f"crop_aspect={self.crop_aspect} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms of the loss; zero turns a term off.

    The weighted sum is multiplied by the batch size, and by nothing else. If a paper multiplies a sum of
    terms by a further gain, multiply its weights by that gain here.
    """

    box: float = 7.5
    classes: float = 0.5
    dfl: float = 1.5
    balance: float = 1.5  # arXiv:2512.23273, table 8
    load: float = 0.0  # load, z, diversity: recipes set these for the families whose sources have them
    z: float = 0.0
    diversity: float = 0.0
    information: float = 0.0  # weight on how far each layer's routing information is below information_bits
    information_bits: float = 1.0  # routing information per layer above which there is no loss
    coverage: float = 0.0  # weight on how far each layer's experts are from equal shares
    label_smoothing: float = 0.0  # classification: share of the target that is spread evenly over all classes
    assign_top_k: int = 10
    assign_alpha: float = 0.5
    assign_beta: float = 6.0

    def __post_init__(self) -> None:
        for name in ("box", "classes", "dfl", "balance", "load", "z", "diversity", "information", "coverage"):
            _require(getattr(self, name) >= 0, f"loss weight {name}={getattr(self, name)} is negative")
        _require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing={self.label_smoothing} is outside 0..1, or 1",
        )
        _require(self.assign_top_k >= 1, f"assign_top_k={self.assign_top_k} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer, learning rate schedule and weight averaging."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    final_lr: float = 1e-4
    schedule: Literal["cosine", "linear"] = "linear"
    momentum: float = 0.937  # SGD momentum; AdamW's first beta
    weight_decay: float = 5e-4  # on weights of two or more dimensions only
    warmup_epochs: float = 3.0
    clip_norm: float = 10.0
    ema_decay: float = 0.9999
    ema_tau_steps: float = 2000.0  # the decay grows as 1 - exp(-step / tau)

    def __post_init__(self) -> None:
        _require_one_of("optimizer", self.name, ("sgd", "adamw"))
        _require_one_of("schedule", self.schedule, ("cosine", "linear"))
        _require(self.lr > 0, f"lr={self.lr} must be positive")
        _require(self.warmup_epochs >= 0, f"warmup_epochs={self.warmup_epochs} is negative")
        _require(self.clip_norm > 0, f"clip_norm={self.clip_norm} must be positive")
        _require(self.ema_tau_steps > 0, f"ema_tau_steps={self.ema_tau_steps} must be positive")
        _require(0 < self.final_lr <= self.lr, f"final_lr={self.final_lr} must be in 0..lr={self.lr}")
        _require(0 <= self.ema_decay < 1, f"ema_decay={self.ema_decay} must be in 0..1, 1 excluded")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training run; the same configuration and seed give the same model."""

    model: ModelConfig
    train_data: Annotated[DataConfig, Discriminator("kind")]
    val_data: Annotated[DataConfig, Discriminator("kind")] | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 100
    batch_size: int = 16  # images per step, over all parts and processes
    accumulate: int = 1  # parts of a batch, computed one after the other to save memory
    freeze_batch_norm: bool = False  # keep the initial statistics; scales and shifts are still trained
    repeat_threshold: float = 0.0  # classes in a smaller share of the images than this are shown more often
    patience: int = 0  # a run ends after so many evaluations without a better main metric; 0: never
    deterministic: bool = False
    seed: int = 0
    top_ks: tuple[int, ...] = ()  # each image of a step draws its top_k from these; empty: the model's top_k
    evaluate_every_epochs: int = 10
    checkpoint_every_s: float = 120.0
    loader_workers: int = 1
    precision: ComputePrecision = "auto"

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"epochs={self.epochs} must be at least 1")
        _require(0 <= self.seed <= MAX_SEED, f"seed={self.seed} must be in 0..{MAX_SEED}")
        _require(self.batch_size >= 1, f"batch_size={self.batch_size} must be at least 1")
        self.check_parts(processes=1)
        _require(
            self.model.top_k >= 1,
            "top_k=0 would train no expert: train with 2, and ask for 0 when the model runs",
        )
        allowed = self.model.allowed_top_k
        _require(
            set(self.top_ks) <= set(allowed),
            f"top_ks={self.top_ks}: {self.model.variant} runs with {', '.join(map(str, allowed))} experts",
        )
        _require(0 <= self.repeat_threshold <= 1, f"repeat_threshold={self.repeat_threshold} is not a share")
        _require(self.patience >= 0, f"patience={self.patience} is negative")
        _require(
            self.patience == 0 or self.val_data is not None,
            f"patience={self.patience} goes by evaluations, and there is no data to validate on",
        )
        _require(self.loader_workers >= 0, f"loader_workers={self.loader_workers} is negative")
        _require(
            self.evaluate_every_epochs >= 1,
            f"evaluate_every_epochs={self.evaluate_every_epochs} must be at least 1",
        )
        _require_one_of("precision", self.precision, get_args(ComputePrecision))

    def check_parts(self, processes: int) -> None:
        """Check that a batch can be split into its parts and over processes.

        Raises:
            ConfigError: the batch size is not divisible, a share is too small for batch norm or for a loss
                over several images, or grouped experts would need batch norm over processes.
        """
        _require(self.accumulate >= 1, f"accumulate={self.accumulate} must be at least 1")
        among = f"accumulate={self.accumulate}" + (f" × {processes} processes" if processes > 1 else "")
        _require(
            self.batch_size % (self.accumulate * processes) == 0,
            f"batch_size={self.batch_size} cannot be dealt evenly to {among}; give a multiple of "
            f"{self.accumulate * processes}",
        )
        spatial = any(mixture.router.kind == "spatial" for mixture in self.model.mixtures.values())
        images = self.batch_size // (self.accumulate * processes)
        _require(
            not spatial or self.freeze_batch_norm or images >= 2,
            f"batch_size={self.batch_size}: {self.model.variant} has batch norm in its routers: they need "
            "two images" + (f", and {among} leaves {images}" if self.batch_size > 1 else ""),
        )
        terms = [name for name in ("information", "coverage") if getattr(self.loss, name)]
        _require(
            self.batch_size // self.accumulate >= 2 or not terms or not self.model.mixtures,
            f"the loss {' and '.join(terms)} compares the images of a part, and {among} leaves one of "
            f"batch_size={self.batch_size}",
        )
        # Batch norm over processes would wait for a process without an image for the expert. A head's experts
        # contain batch norm, whatever the norm of its mixture is.
        alone = any(
            mixture.train_dispatch == "grouped" and (mixture.norm == "batch" or place in HEAD_PLACES)
            for place, mixture in self.model.mixtures.items()
        )
        _require(
            processes == 1 or self.freeze_batch_norm or not alone,
            "experts that see their own images alone (grouped) share no batch norm between processes; use "
            "group norm or dense dispatch",
        )
