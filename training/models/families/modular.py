"""YOLO-Master v0.1: 4, 8 and 16 pointwise experts in the deep stages."""

from dataclasses import replace

from training.config import LossConfig, ModelConfig, RouterConfig
from training.models.families.family import Family
from training.models.families.pointwise import DEEP_PLACES, V01_GAIN, pointwise

ROUTER = RouterConfig(kind="spatial", init_std=0.01, noise=1.0)
EXPERTS = (4, 8, 16)


def _configure(config: ModelConfig, size: str) -> ModelConfig:
    del size
    counts = zip(DEEP_PLACES, EXPERTS, strict=True)
    mixtures = {place: replace(pointwise(experts), router=ROUTER) for place, experts in counts}
    return replace(config, neck="c3k", mixtures=mixtures)


MODULAR = Family(
    name="modular",
    sizes="nsml",
    configure=_configure,
    losses=LossConfig(balance=0.0, load=0.01 * V01_GAIN, z=0.001 * V01_GAIN),
)
