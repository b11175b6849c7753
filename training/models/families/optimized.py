"""The notes' `optimized` mixtures: spatial routers over pointwise experts, before v0.1 had its z-loss."""

from dataclasses import replace

from training.config import LossConfig, ModelConfig, RouterConfig
from training.models.families.family import Family
from training.models.families.pointwise import DEEP_PLACES, V01_GAIN, pointwise


def _configure(config: ModelConfig, size: str) -> ModelConfig:
    del size
    mixture = replace(pointwise(4), router=RouterConfig(kind="spatial"))
    return replace(config, neck="c3k", mixtures=dict.fromkeys(DEEP_PLACES, mixture))


OPTIMIZED = Family(
    name="optimized",
    sizes="n",
    configure=_configure,
    losses=LossConfig(balance=0.0, load=0.01 * V01_GAIN),
)
