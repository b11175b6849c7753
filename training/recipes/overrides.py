"""Replaces settings in a recipe's TrainConfig; a path such as `optimizer.lr` names each setting."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from training.config import TrainConfig
from training.errors import ConfigError
from training.tasks.choose import task_named

Overrides = Mapping[str, Any]
_OF_EXPERTS = ("loss.balance", "loss.information", "loss.coverage", "top_ks")  # need a model with experts
_OF_PATHS = ("loss.path_information", "loss.path_coverage", "soft_paths")  # need a model with paths


def override(config: TrainConfig, overrides: Overrides) -> TrainConfig:
    """Return the configuration with new values for some fields; keys are paths such as `optimizer.lr`.

    If `optimizer.lr` is given without `optimizer.final_lr`, the ratio of `final_lr` to `lr` does not change.

    Raises:
        ConfigError: a field does not exist, a field has no meaning for the model, or values contradict one
            another.
    """
    of_experts = [path for path in _OF_EXPERTS if path in overrides]
    if of_experts and not config.model.mixtures:
        name = of_experts[0].rpartition(".")[2]
        raise ConfigError(f"{config.model.variant} has no experts: leave {name} to its recipe")
    of_paths = [path for path in _OF_PATHS if path in overrides]
    if of_paths and config.model.paths is None:
        name = of_paths[0].rpartition(".")[2]
        raise ConfigError(f"{config.model.variant} has no paths: leave {name} to its recipe")
    without = task_named(config.model.task).without
    idle = [name for path in overrides if (name := path.rpartition(".")[2]) in without]
    if idle:
        flag = idle[0].removesuffix("_epochs").replace("_", "-")
        raise ConfigError(
            f"--{flag} means nothing to {config.model.variant}, which is for the task "
            f"{config.model.task}: leave it out"
        )
    whole, parts = dict[str, Any](), dict[str, dict[str, Any]]()
    for path, value in overrides.items():
        part, _, name = path.rpartition(".")
        owner = getattr(config, part, None) if part else config
        if not is_dataclass(owner) or name not in {field.name for field in fields(owner)}:
            raise ConfigError(f"a training configuration has no {path}")
        (parts.setdefault(part, {}) if part else whole)[name] = value
    rates = parts.get("optimizer", {})
    if "lr" in rates and rates["lr"] > 0:
        share = config.optimizer.final_lr / config.optimizer.lr
        rates.setdefault("final_lr", share * rates["lr"])
    changed = {part: replace(getattr(config, part), **values) for part, values in parts.items()}
    return replace(config, **changed, **whole)
