"""The models one can ask for by name: each is a configuration, none is a class."""

from dataclasses import replace

from training.config import MixtureConfig, ModelConfig
from training.errors import ConfigError

VARIANTS = ("yolov12-n", "esmoe-n")


def model_config(variant: str, class_names: tuple[str, ...], input_hw: tuple[int, int]) -> ModelConfig:
    """The configuration of a named variant.

    Raises:
        ConfigError: no such variant; names those there are.
    """
    nano = ModelConfig(variant=variant, class_names=class_names, input_hw=input_hw)
    match variant:
        case "yolov12-n":
            return nano
        case "esmoe-n":
            return replace(nano, neck="c3k", mixture=MixtureConfig())
        case _:
            raise ConfigError(f"no variant {variant!r}; there are: {', '.join(VARIANTS)}")
