"""Converts configurations to the JSON that checkpoints contain, and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from textwrap import shorten
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from training.config import MIXTURE_PLACES, ModelConfig, TrainConfig
from training.errors import ConfigError

_Config = TypeVar("_Config", ModelConfig, TrainConfig)

# to_json always writes these keys; a file without one would silently get a default.
_PARTS_OF_MODEL = ("class_names", "mixtures")
_PARTS_OF_TRAIN = ("model", "train_data", "val_data", "augment", "loss", "optimizer")
_NO_MODEL = "not a model configuration of this version"
_NO_TRAIN = "not a training configuration of this version"


def to_json(config: TrainConfig | ModelConfig) -> str:
    """Return a configuration as one line of JSON; model_from_json or train_from_json reads it back."""
    return json.dumps(asdict(config), sort_keys=True)


def model_from_json(text: str) -> ModelConfig:
    """Return the model configuration that to_json wrote as this text.

    Raises:
        ConfigError: the text is not the output of to_json; the message names each wrong key by its path.
    """
    return _checked(ModelConfig, _current_model(_parse(text)), _NO_MODEL)


def train_from_json(text: str) -> TrainConfig:
    """Return the training configuration that to_json wrote; raise the same errors as model_from_json."""
    values = _parse(text)
    _require_keys(values, _PARTS_OF_TRAIN, _NO_TRAIN)
    if isinstance(values["model"], dict):
        values["model"] = _current_model(values["model"])
    return _checked(TrainConfig, values, _NO_TRAIN)


def differences(before: Any, now: Any, path: str = "") -> dict[str, str]:
    """Return the settings in which two configurations, given as dicts, differ.

    The keys of the result are the paths of the settings. Each value is a text that states both settings:
    {"optimizer.lr": "optimizer.lr 0.01, now 0.02"}.
    """
    if isinstance(before, tuple) and isinstance(now, tuple) and 2 < len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, dict) and isinstance(now, dict):
        found = dict[str, str]()
        for name in {**before, **now}:
            found |= differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
        return found
    return {} if before == now else {path: f"{path} {_shown(before)}, now {_shown(now)}"}


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} values"
    return "none" if value is None else shorten(str(value), 80)


def _parse(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"configuration is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError("configuration is not a JSON object")
    return values


def _checked(kind: type[_Config], values: Mapping[str, Any], wrong: str) -> _Config:
    """Return a configuration of type `kind` from a dict; raise ConfigError on a wrong type or unknown key."""
    try:
        # Validates JSON text, because pydantic in strict mode accepts a list for a tuple only in JSON.
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        found = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"{wrong}: {'; '.join(found)}") from error


def _require_keys(values: Mapping[str, Any], names: tuple[str, ...], wrong: str) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise ConfigError(f"{wrong}: without {', '.join(missing)}")


def _current_model(values: dict[str, Any]) -> dict[str, Any]:
    """Convert a model configuration, given as a dict, from version 0.1 to the current format if needed.

    In version 0.1, a model has one mixture configuration for all mixture layers. Its field
    `placement` states whether these layers are in the backbone, in the neck or in both.
    """
    if "mixture" not in values:
        _require_keys(values, _PARTS_OF_MODEL, _NO_MODEL)
        return values
    fields = {name: value for name, value in values.items() if name != "mixture"}
    if values["mixture"] is None:
        return {**fields, "mixtures": {}}
    try:
        mixture = dict(values["mixture"])
        placement = mixture.pop("placement")
        router = {name: mixture.pop(f"router_{name}") for name in ("reduction", "min_hidden")}
        places = [place for place in MIXTURE_PLACES if placement in ("both", place.split(".")[0])]
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{_NO_MODEL}: mixture: {error!r}") from error
    return {**fields, "mixtures": {place: {**mixture, "router": router} for place in places}}
