"""Every setting of a training run, as frozen dataclasses that raise ConfigError on values that cannot work.

Settings of the data are in data_config. A recipe builds a whole TrainConfig; dataclasses.replace changes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Discriminator

from training.data_config import DataConfig
from training.limits import (
    AT_LEAST_0,
    AT_LEAST_1,
    POSITIVE,
    BelowOne,
    Checked,
    Count,
    CountFromZero,
    Limit,
    NotNegative,
    Positive,
    UpToOne,
    require,
    require_one_of,
)
from training.skeleton import Skeleton

STRIDES = (8, 16, 32)
MASK_STRIDE = 4  # pixels of the model input per cell of a mask, in both directions
TaskName = Literal["detect", "classify", "segment", "pose", "obb"]
TASK_SUFFIXES: dict[TaskName, str] = {  # of variant names
    "detect": "",
    "classify": "-cls",
    "segment": "-seg",
    "pose": "-pose",
    "obb": "-obb",
}
TASKS = tuple(TASK_SUFFIXES)
OBJECT_TASKS = tuple(task for task in TASKS if task != "classify")  # their networks are kinds of Detector
Resize = Literal["letterbox", "center_crop"]  # how an image becomes the model input; names as in manifests
ExpertKind = Literal["depthwise", "simple", "ghost", "inverted", "dynamic"]
RouterKind = Literal["pooled", "moments", "spatial", "adaptive", "ultra"]
ComputePrecision = Literal["auto", "f32", "bf16", "f16"]
PAD_VALUE = 114  # grey of the padding; near the mean of natural images, so that the image's edge is weak
MAX_SEED = 2**32 - 1  # a step's random numbers are seeded with seed × 10⁹ + step, which must fit into 64 bits


@dataclass(frozen=True, kw_only=True)
class RouterConfig(Checked):
    """Settings of the router of a mixture layer; the router scores the experts."""

    kind: RouterKind = "pooled"
    reduction: Count = 8  # hidden width = channels / this, at least min_hidden
    min_hidden: Count = 8
    pool: Count = 4  # spatial and ultra routers: side of the square of cells that is averaged before routing
    # Standard deviation of the last layer's initial weights; None: torch's default.
    init_std: Annotated[float | None, POSITIVE] = None
    noise: NotNegative = 0.0  # standard deviation of normal noise on the logits, in training only
    dropout: BelowOne = 0.0  # pooled routers only, in training only
    temperature: Positive = 1.0  # logits are divided by this
    learn_temperature: bool = False


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(Checked):
    """Settings of one mixture layer; ES-MoE (arXiv:2512.23273) uses the default values."""

    num_experts: Count = 4
    top_k: int = 2  # train with at least 2: at 1 the gate is always 1, and the router gets no gradient
    weight_threshold: UpToOne = 0.0  # experts other than the best run only if their probability reaches this
    gate_epsilon: NotNegative = 0.0  # added to the sum that weights are divided by; 1e-6 in YOLO-Master v0.1
    router: RouterConfig = field(default_factory=RouterConfig)  # not used in a network with paths
    expert: ExpertKind = "depthwise"
    kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)  # of each expert
    expert_ratio: Positive = 2.0  # hidden width / channels, of simple, inverted and dynamic experts
    norm: Literal["batch", "group"] = "batch"  # of experts and the shared expert
    shared_kernel: int | None = None  # kernel of a shared expert, which always runs; None: no shared expert
    residual: bool = False  # add the layer's input to its output
    activate: bool = True  # batch norm and SiLU on the weighted sum
    train_dispatch: Literal["dense", "grouped"] = "dense"  # grouped: only the images that chose an expert

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most, kernels = self.min_top_k, self.num_experts, self.kernel_sizes
        require(least <= self.top_k <= most, f"top_k={self.top_k} is outside {least}..num_experts={most}")
        require(len(kernels) == most, f"kernel_sizes={kernels} needs one kernel for each of {most} experts")
        require(
            all(k >= 1 and k % 2 == 1 for k in (*kernels, self.shared_kernel or 1)),
            f"kernel_sizes={kernels} and shared_kernel={self.shared_kernel} must be odd, to keep map sizes",
        )

    @property
    def min_top_k(self) -> int:
        """Return the smallest allowed top_k: 1; 0 with a shared expert; all with dynamic experts."""
        return self.num_experts if self.expert == "dynamic" else int(self.shared_kernel is None)


@dataclass(frozen=True, kw_only=True)
class PathConfig(Checked):
    """Settings of a network that first chooses one path for each image, from a thumbnail."""

    count: Annotated[int, Limit("must be at least 2", lambda value: value >= 2)] = 8
    # Side of the square of pixels of the model input that is averaged to one pixel of the thumbnail.
    pool: Annotated[int, Limit("must divide 32", lambda value: value >= 1 and 32 % value == 0)] = 8
    width: Count = 16  # channels after the router's first convolution; the second has twice as many
    hidden: Count = 32  # hidden width between the router's last layers
    noise: NotNegative = 0.0  # standard deviation of normal noise on the logits, in training only


LEAST_THUMBNAIL = 8  # pixels of the shorter side, of which the path router's convolutions leave 2 cells
STAGES = ("p2", "p3", "p4", "p5")  # of the backbone, by stride: 4, 8, 16, 32
LEVELS = ("p3", "p4", "p5")  # of neck and head
BACKBONE_PLACES = tuple(f"backbone.{stage}" for stage in STAGES)
MIXTURE_PLACES = (*BACKBONE_PLACES, *(f"neck.{level}" for level in LEVELS))
PLAIN_PLACES = MIXTURE_PLACES[2:]  # the blocks at p2 and p3 of the backbone also add channels
PLAIN_P2 = "backbone.p2"  # may be plain too; the stage then has half the channels
HEAD_PLACES = tuple(f"head.{level}" for level in LEVELS)


def places_of(task: TaskName) -> tuple[str, ...]:
    """Return the places in a task's network that may hold a mixture layer."""
    return BACKBONE_PLACES if task == "classify" else (*MIXTURE_PLACES, *HEAD_PLACES)  # no neck


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked):
    """The configuration of a network, which states its task, its size and its mixture layers."""

    variant: str = "yolov12-n"
    task: TaskName = "detect"
    class_names: tuple[str, ...] = ()
    skeleton: Skeleton | None = None  # pose only: the keypoints of each object
    input_hw: tuple[int, int] = (640, 640)
    depth: float = 0.5  # factor on the number of blocks in a stage
    width: float = 0.25  # factor on channels
    max_channels: int = 1024  # limit on channels before the width factor is applied
    reg_max: int = 16  # bins of the distribution of each box side
    neck: Literal["area", "c3k"] = "area"
    deep_stages: bool = False  # chain cross stages instead of bottlenecks in the backbone's split stages
    scaled_residual: bool = False  # attention stages add their input to their output × a learned scale
    mlp_ratio: Positive = 2.0  # hidden width / channels of the MLPs after attention
    light: bool = False  # make box branches and the downsampling of p3 and p4 depthwise-separable
    plain_stages: tuple[str, ...] = ()  # places without a block of their own; a mixture may replace it
    mixtures: Mapping[str, MixtureConfig] = field(default_factory=dict)  # by place, such as backbone.p4
    paths: PathConfig | None = None  # None: every mixture layer has a router of its own

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.class_names
        require(len(names) > 0, "class_names is empty: a model needs at least one class")
        require(len(set(names)) == len(names), f"class_names repeat: {names}")
        require(
            all(side >= 64 and side % 32 == 0 for side in self.input_hw),
            f"input_hw={self.input_hw}: both sides must be multiples of 32, at least 64",
        )
        # With multiples of 32, area attention can also cut the stride-16 map into 4 strips of equal length.
        require(self.reg_max >= 2, f"reg_max={self.reg_max} must be at least 2")
        for stage in self.plain_stages:
            require_one_of("plain stage", stage, (PLAIN_P2, *PLAIN_PLACES))
        for place in self.mixtures:
            require_one_of("mixture place", place, places_of(self.task))
        in_head = set(HEAD_PLACES) & set(self.mixtures)
        require(len(in_head) in (0, 3), f"a mixture head needs all of {HEAD_PLACES}, not {sorted(in_head)}")
        for place in sorted(in_head):
            mixture = self.mixtures[place]
            bare = mixture.shared_kernel is None and not mixture.residual and not mixture.activate
            require(bare, f"{place}: experts of a head have no shared expert, residual or activation")
        require(
            (self.task == "pose") == (self.skeleton is not None),
            f"task={self.task!r} with {len(self.keypoints)} keypoints: pose needs some, others have none",
        )
        if self.paths is not None:
            self._check_paths(self.paths)
        for name in ("top_k", "weight_threshold"):
            values = {getattr(mixture, name) for mixture in self.mixtures.values()}
            require(len(values) <= 1, f"mixtures disagree on {name}: {sorted(values)}; one control sets all")

    def _check_paths(self, paths: PathConfig) -> None:
        require(bool(self.mixtures), "paths need mixture layers to lead through")
        routers = [mixture.router for mixture in self.mixtures.values()]  # scores are used as they are
        plain = [(each.temperature, each.learn_temperature, each.noise) == (1, False, 0) for each in routers]
        require(all(plain), "scores of paths have no temperature and no noise")
        side = min(self.input_hw) // paths.pool
        require(side >= LEAST_THUMBNAIL, f"pool={paths.pool} leaves a thumbnail of only {side} pixels")

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Return the names of the keypoints of each object; () for a network without keypoints."""
        return self.skeleton.names if self.skeleton else ()

    @property
    def top_k(self) -> int:
        """Return the default number of experts per image and layer; 1 for a model without mixture layers."""
        return next((mixture.top_k for mixture in self.mixtures.values()), 1)

    @property
    def weight_threshold(self) -> float:
        """Return the default probability below which an expert does not run.

        In each layer, the most probable expert always runs.
        """
        return next((mixture.weight_threshold for mixture in self.mixtures.values()), 0.0)

    @property
    def allowed_top_k(self) -> range:
        """Return the top_k values that a request may set; only 1 for a model without mixture layers.

        Every layer allows the smallest of these values. The largest value is the number of experts in the
        layer that has the most experts.
        """
        if not self.mixtures:
            return range(1, 2)
        lowest = max(mixture.min_top_k for mixture in self.mixtures.values())
        return range(lowest, max(mixture.num_experts for mixture in self.mixtures.values()) + 1)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Checked):
    """Settings of the random augmentation of training images; zero turns an augmentation off.

    The defaults are from arXiv:2502.12524, table 7, size n. The exception is copy_paste, which is 0 here;
    recipes set it.
    """

    mosaic: UpToOne = 1.0  # probability
    mixup: UpToOne = 0.0  # probability that a sample is blended with another
    copy_paste: UpToOne = 0.0  # probability that objects of another image are pasted on
    close_mosaic_epochs: int = 10  # number of last epochs without mosaic, mixup and copy_paste
    hsv_hue: float = 0.015  # fraction of the full circle
    hsv_saturation: float = 0.7  # the gain is uniform in 1 ± this
    hsv_value: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1  # largest shift, as a fraction of the model input
    scale: BelowOne = 0.5  # the gain is uniform in 1 ± this
    flip_horizontal: UpToOne = 0.5  # probability
    flip_vertical: UpToOne = 0.0
    # Classification: smallest area of a random crop ÷ area of the image; largest factor on the aspect ratio.
    crop_area: Annotated[float, Limit("must be in 0..1, 0 excluded", lambda value: 0 < value <= 1)] = 0.5
    crop_aspect: Annotated[float, AT_LEAST_1] = 4 / 3


@dataclass(frozen=True, kw_only=True)
class LossConfig(Checked):
    """Weights of the terms of the loss; zero turns a term off.

    The weighted sum of the terms is multiplied only by the batch size. If a paper gives a term both a
    weight and a gain, the field must hold their product.
    """

    box: NotNegative = 7.5
    classes: NotNegative = 0.5
    dfl: NotNegative = 1.5
    mask: NotNegative = 7.5  # segment only
    keypoints: NotNegative = 12.0  # pose only, and so is the next field
    visibility: NotNegative = 1.0
    balance: NotNegative = 1.5  # arXiv:2512.23273, table 8
    load: NotNegative = 0.0  # recipes set load, z and diversity for families whose sources have them
    z: NotNegative = 0.0
    diversity: NotNegative = 0.0
    information: NotNegative = 0.0  # weight of the bits that routing information lacks to information_bits
    information_bits: float = 1.0  # routing information per layer above which there is no loss
    coverage: NotNegative = 0.0  # weight of the distance of each layer's experts from equal shares
    # The same three for the choice of a path, in networks with paths:
    path_information: NotNegative = 0.0
    path_bits: float = 2.0
    path_coverage: NotNegative = 0.0
    # Weight of what images with the smallest of top_ks learn from all experts; 1: as much as from labels.
    distill: NotNegative = 0.0
    path_load: NotNegative = 0.0  # as load, of the best path of each image
    label_smoothing: BelowOne = 0.0  # classification: share of the target spread evenly over all classes
    assign_top_k: Count = 10
    assign_alpha: float = 0.5
    assign_beta: float = 6.0


_COMPARING = ("information", "coverage", "path_information", "path_coverage")  # need two images


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Checked):
    """Settings of the optimizer, the learning rate schedule and the averaging of weights."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.01
    final_lr: float = 1e-4
    schedule: Literal["cosine", "linear"] = "linear"
    momentum: float = 0.937  # SGD momentum; AdamW's first beta
    weight_decay: float = 5e-4  # applies only to weights of two or more dimensions
    warmup_epochs: NotNegative = 3.0
    clip_norm: Positive = 10.0
    ema_decay: BelowOne = 0.9999
    ema_tau_steps: Positive = 2000.0  # the decay grows as 1 - exp(-step / tau)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.final_lr <= self.lr, f"final_lr={self.final_lr} must be in 0..lr={self.lr}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """All settings of a training run; the same configuration and seed give the same model."""

    model: ModelConfig
    train_data: Annotated[DataConfig, Discriminator("kind")]
    val_data: Annotated[DataConfig, Discriminator("kind")] | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: Count = 100
    batch_size: Count = 16  # images per step, over all parts and processes
    accumulate: Count = 1  # parts of a batch, computed one after the other to save memory
    freeze_batch_norm: bool = False  # keep the initial statistics; scales and shifts are still trained
    repeat_threshold: UpToOne = 0.0  # classes in a smaller share of the images than this are shown more often
    patience: CountFromZero = 0  # end after this many evaluations without a better main metric; 0: never
    deterministic: bool = False
    seed: int = 0
    top_ks: tuple[int, ...] = ()  # each image of a step draws its top_k from these; empty: the model's top_k
    soft_paths: UpToOne = 0.5  # share of the run in which paths are mixed, less and less
    evaluate_every_epochs: Count = 10
    checkpoint_every_s: float = 120.0
    loader_workers: Annotated[int | None, AT_LEAST_0] = None  # None: one less than the usable cores
    precision: ComputePrecision = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.seed <= MAX_SEED, f"seed={self.seed} must be in 0..{MAX_SEED}")
        self.check_parts(processes=1)
        require(self.model.top_k >= 1, "top_k=0 trains no expert: train with 2, and set 0 at inference")
        allowed = self.model.allowed_top_k
        require(
            set(self.top_ks) <= set(allowed),
            f"top_ks={self.top_ks}: {self.model.variant} runs with {', '.join(map(str, allowed))} experts",
        )
        both = min(self.top_ks, default=1) <= 1 < allowed[-1] == max(self.top_ks, default=1)
        require(
            both or not self.loss.distill,
            f"distill={self.loss.distill} lets images with top_k 1 learn from all {allowed[-1]} experts, but "
            f"{self.model.variant} does not train with both: top_ks={self.top_ks}; leave distill at 0",
        )
        validated = self.val_data is not None
        require(self.patience == 0 or validated, f"patience={self.patience} needs validation data")

    def check_parts(self, processes: int) -> None:
        """Check that a batch can be split into `accumulate` parts, and each part among the processes.

        Raises:
            ConfigError: the batch size is not divisible by accumulate × processes; a process gets too few
                images for the batch norm in routers; a part has too few images for a loss that compares
                images; or experts with the dispatch `grouped` would need batch norm over several processes.
        """
        among = f"accumulate={self.accumulate}" + (f" × {processes} processes" if processes > 1 else "")
        shares = self.accumulate * processes
        require(
            self.batch_size % shares == 0,
            f"batch_size={self.batch_size} cannot be split evenly over {among}; give a multiple of {shares}",
        )
        spatial = any(mixture.router.kind == "spatial" for mixture in self.model.mixtures.values())
        images = self.batch_size // shares
        require(
            not spatial or self.freeze_batch_norm or images >= 2,
            f"batch_size={self.batch_size}: {self.model.variant} has batch norm in its routers, which needs "
            "two images" + (f", and {among} leaves {images}" if self.batch_size > 1 else ""),
        )
        terms = [name for name in _COMPARING if getattr(self.loss, name)]
        require(
            self.batch_size // self.accumulate >= 2 or not terms or not self.model.mixtures,
            f"the loss {' and '.join(terms)} compares the images of a part, and {among} leaves one of "
            f"batch_size={self.batch_size}; give a larger --batch, or 0 for these losses",
        )
        # Batch norm over processes would wait for a process without an image for the expert. A head's experts
        # contain batch norm, whatever the norm of its mixture is.
        alone = any(
            mixture.train_dispatch == "grouped" and (mixture.norm == "batch" or place in HEAD_PLACES)
            for place, mixture in self.model.mixtures.items()
        )
        require(
            processes == 1 or self.freeze_batch_norm or not alone,
            "grouped experts cannot share batch norm between processes; use group norm or dense dispatch",
        )
