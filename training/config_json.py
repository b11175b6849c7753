"""Configurations as JSON, as checkpoints carry them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from training.config import (
    MIXTURE_PLACES,
    AugmentConfig,
    LossConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    RouterConfig,
    TrainConfig,
)
from training.data_config import CombinedConfig, DataConfig, FolderConfig, ScenesConfig
from training.errors import ConfigError

_DATA_KINDS = {"scenes": ScenesConfig, "folder": FolderConfig, "combined": CombinedConfig}


def to_json(config: TrainConfig | ModelConfig) -> str:
    """One line of JSON that model_from_json and train_from_json read back to an equal configuration."""
    return json.dumps(_tagged(config), sort_keys=True)


def _tagged(config: Any) -> dict[str, Any]:
    values = asdict(config)
    if isinstance(config, TrainConfig):
        for name in ("train_data", "val_data"):
            data = getattr(config, name)
            if data is not None:
                values[name]["kind"] = next(kind for kind, of in _DATA_KINDS.items() if isinstance(data, of))
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
                **_tuples(values),
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
        fields = _tuples(_named_by_place(values))
        fields["mixtures"] = {place: _mixture(mixture) for place, mixture in fields["mixtures"].items()}
        return ModelConfig(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"not a model configuration of this version: {error}") from error


def _mixture(values: Mapping[str, Any]) -> MixtureConfig:
    return MixtureConfig(**{**_tuples(values), "router": RouterConfig(**values["router"])})


def _named_by_place(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Checkpoints of version 0.1 name one mixture and where it stands: backbone, neck or both."""
    if "mixture" not in values:
        return values
    fields = dict(values)
    mixture = fields.pop("mixture")
    if mixture is None:
        return {**fields, "mixtures": {}}
    mixture = dict(mixture)
    placement = mixture.pop("placement")
    router = {"reduction": mixture.pop("router_reduction"), "min_hidden": mixture.pop("router_min_hidden")}
    places = [place for place in MIXTURE_PLACES if placement in ("both", place.split(".")[0])]
    return {**fields, "mixtures": {place: {**mixture, "router": router} for place in places}}


def _data(values: Mapping[str, Any]) -> DataConfig:
    fields = _tuples(values)
    kind = fields.pop("kind")
    if kind == "combined":
        parts = tuple(FolderConfig(**_tuples(part)) for part in fields.pop("parts"))
        return CombinedConfig(parts=parts, **fields)
    return ScenesConfig(**fields) if kind == "scenes" else FolderConfig(**fields)
