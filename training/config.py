"""Every setting of a training run, as frozen dataclasses that refuse what cannot work.

A recipe builds a whole TrainConfig; a variant of it is dataclasses.replace.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from training.errors import ConfigError

STRIDES = (8, 16, 32)
PAD_VALUE = 114  # grey of the letterbox; near the mean of natural images, so padding carries no edge


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """One mixture layer, the same at every place it stands."""

    num_experts: int = 4
    top_k: int = 2  # trained with 1 the gate is always 1, so that its router gets no gradient: learn with 2
    kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)
    placement: Literal["backbone", "neck", "both"] = "backbone"
    router_reduction: int = 8  # hidden width = channels / this, at least router_min_hidden
    router_min_hidden: int = 8
    train_dispatch: Literal["dense", "grouped"] = "dense"  # what batch norm inside experts sees

    def __post_init__(self) -> None:
        _require(self.num_experts >= 1, f"num_experts={self.num_experts} must be at least 1")
        _require(
            1 <= self.top_k <= self.num_experts,
            f"top_k={self.top_k} is outside 1..num_experts={self.num_experts}",
        )
        _require(
            len(self.kernel_sizes) == self.num_experts,
            f"kernel_sizes={self.kernel_sizes} must name one kernel for each of {self.num_experts} experts",
        )
        _require(
            all(k >= 1 and k % 2 == 1 for k in self.kernel_sizes),
            f"kernel_sizes={self.kernel_sizes} must be odd, so that maps keep their size",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A detector: backbone, neck and head widths, and the mixture if there is one."""

    variant: str = "yolov12-n"
    class_names: tuple[str, ...] = ()
    input_hw: tuple[int, int] = (640, 640)
    depth: float = 0.5  # factor on the number of blocks in a stage
    width: float = 0.25  # factor on channels
    max_channels: int = 1024  # before the width factor
    reg_max: int = 16  # bins of each box side's distribution
    neck: Literal["area", "c3k"] = "area"
    mixture: MixtureConfig | None = None

    def __post_init__(self) -> None:
        _require(len(self.class_names) > 0, "class_names is empty: a detector needs at least one class")
        _require(
            len(set(self.class_names)) == len(self.class_names), f"class_names repeat: {self.class_names}"
        )
        _require(
            all(side >= 64 and side % 32 == 0 for side in self.input_hw),
            f"input_hw={self.input_hw}: both sides must be multiples of 32, at least 64",
        )
        # Multiples of 32 also let area attention cut the stride-16 map into 4 runs of equal length.
        _require(self.reg_max >= 2, f"reg_max={self.reg_max} must be at least 2")
        _require(self.neck in ("area", "c3k"), f"neck={self.neck!r} is neither 'area' nor 'c3k'")


@dataclass(frozen=True, kw_only=True)
class ScenesConfig:
    """Generated scenes: no files, exact boxes, the same for the same seed."""

    images: int = 512
    seed: int = 0
    image_hw: tuple[int, int] = (320, 320)

    def __post_init__(self) -> None:
        _require(self.images >= 1, f"images={self.images} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Images on disk with VOC xml or YOLO txt labels; the format is recognised from the folder."""

    root: str
    split: str = "train"
    class_names: tuple[str, ...] = ()  # VOC names no classes of its own; empty: collect them from the labels


DataConfig = ScenesConfig | FolderConfig


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training image. Zero turns one off. Defaults: arXiv:2502.12524, table 7, size n."""

    mosaic: float = 1.0  # probability
    close_mosaic_epochs: int = 10  # the last epochs run without mosaic
    hsv_hue: float = 0.015  # fraction of the full circle
    hsv_saturation: float = 0.7  # gain is drawn from 1 ± this
    hsv_value: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1  # fraction of the canvas
    scale: float = 0.5  # gain is drawn from 1 ± this
    flip_horizontal: float = 0.5  # probability
    flip_vertical: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mosaic", "flip_horizontal", "flip_vertical"):
            _require(0 <= getattr(self, name) <= 1, f"{name}={getattr(self, name)} is not a probability")
        _require(0 <= self.scale < 1, f"scale={self.scale} must be in 0..1, 1 excluded")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms of the loss. Zero turns a term off."""

    box: float = 7.5
    classes: float = 0.5
    dfl: float = 1.5
    balance: float = 1.5  # arXiv:2512.23273, table 8
    assign_top_k: int = 10
    assign_alpha: float = 0.5
    assign_beta: float = 6.0

    def __post_init__(self) -> None:
        for name in ("box", "classes", "dfl", "balance"):
            _require(getattr(self, name) >= 0, f"loss weight {name}={getattr(self, name)} is negative")
        _require(self.assign_top_k >= 1, f"assign_top_k={self.assign_top_k} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer, schedule and averaging."""

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
        _require(self.name in ("sgd", "adamw"), f"optimizer {self.name!r} is neither 'sgd' nor 'adamw'")
        _require(
            self.schedule in ("cosine", "linear"),
            f"schedule {self.schedule!r} is neither 'cosine' nor 'linear'",
        )
        _require(self.lr > 0, f"lr={self.lr} must be positive")
        _require(self.warmup_epochs >= 0, f"warmup_epochs={self.warmup_epochs} is negative")
        _require(self.clip_norm > 0, f"clip_norm={self.clip_norm} must be positive")
        _require(self.ema_tau_steps > 0, f"ema_tau_steps={self.ema_tau_steps} must be positive")
        _require(0 < self.final_lr <= self.lr, f"final_lr={self.final_lr} must be in 0..lr={self.lr}")
        _require(0 <= self.ema_decay < 1, f"ema_decay={self.ema_decay} must be in 0..1, 1 excluded")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run, complete: the same configuration and seed give the same model."""

    model: ModelConfig
    train_data: DataConfig
    val_data: DataConfig | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 100
    batch_size: int = 16
    seed: int = 0
    evaluate_every_epochs: int = 10
    checkpoint_every_s: float = 120.0
    loader_workers: int = 1
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"epochs={self.epochs} must be at least 1")
        _require(self.batch_size >= 1, f"batch_size={self.batch_size} must be at least 1")
        _require(self.loader_workers >= 0, f"loader_workers={self.loader_workers} is negative")
        _require(
            self.evaluate_every_epochs >= 1,
            f"evaluate_every_epochs={self.evaluate_every_epochs} must be at least 1",
        )
        _require(
            self.precision in ("auto", "f32", "bf16", "f16"),
            f"precision {self.precision!r} is none of auto, f32, bf16, f16",
        )


def to_json(config: TrainConfig | ModelConfig) -> str:
    """One line of JSON that model_from_json and train_from_json read back to an equal configuration."""
    return json.dumps(_tagged(config), sort_keys=True)


def _tagged(config: Any) -> dict[str, Any]:
    values = asdict(config)
    if isinstance(config, TrainConfig):
        for name in ("train_data", "val_data"):
            data = getattr(config, name)
            if data is not None:
                values[name]["kind"] = "scenes" if isinstance(data, ScenesConfig) else "folder"
    return values


def model_from_json(text: str) -> ModelConfig:
    """Read what to_json wrote. Raises ConfigError for anything else."""
    return _model(_parse(text))


def train_from_json(text: str) -> TrainConfig:
    """Read what to_json wrote. Raises ConfigError for anything else."""
    values = _parse(text)
    try:
        return TrainConfig(
            **{
                **values,
                "model": _model(values["model"]),
                "train_data": _data(values["train_data"]),
                "val_data": _data(values["val_data"]) if values["val_data"] else None,
                "augment": AugmentConfig(**values["augment"]),
                "loss": LossConfig(**values["loss"]),
                "optimizer": OptimizerConfig(**values["optimizer"]),
            }
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"not a training configuration of this version: {error}") from error


def _parse(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"configuration is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError("configuration is not a JSON object")
    return values


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _model(values: Mapping[str, Any]) -> ModelConfig:
    try:
        mixture = values["mixture"]
        fields = {**_tuples(values), "mixture": MixtureConfig(**_tuples(mixture)) if mixture else None}
        return ModelConfig(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"not a model configuration of this version: {error}") from error


def _data(values: Mapping[str, Any]) -> DataConfig:
    fields = _tuples(values)
    kind = fields.pop("kind")
    return ScenesConfig(**fields) if kind == "scenes" else FolderConfig(**fields)


def absolute(config: FolderConfig) -> FolderConfig:
    """The same data set, named so that a resumed run finds it from another working directory."""
    return FolderConfig(
        root=str(Path(config.root).resolve()), split=config.split, class_names=config.class_names
    )
