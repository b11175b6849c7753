"""The models one can ask for by name: each is a configuration, none is a class.

Sources: YOLOv12, arXiv:2502.12524; ES-MoE, arXiv:2512.23273; the notes on YOLO-Master's later mixtures
(modular, optimized, ultra) and on a mixture detection head (moehead). sparsight is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from training.config import (
    HEAD_PLACES,
    MIXTURE_PLACES,
    PLAIN_PLACES,
    ExpertKind,
    MixtureConfig,
    ModelConfig,
    RouterConfig,
    RouterKind,
)
from training.errors import ConfigError

VARIANTS = (
    *(f"yolov12-{size}" for size in "nsmlx"),
    *(f"esmoe-{size}" for size in "nsmlx"),
    *(f"modular-{size}" for size in "nsml"),
    "optimized-n",
    "ultra-n",
    "moehead-n",
    *(f"sparsight-{size}" for size in "ns"),
)
Placement = Literal["backbone", "neck", "both"]
PLACEMENTS: tuple[Placement, ...] = ("backbone", "neck", "both")

_DEEP_PLACES = ("backbone.p3", "backbone.p4", "backbone.p5")


@dataclass(frozen=True, kw_only=True)
class MixtureChoice:
    """What may be changed of a variant's mixtures; None leaves it as the variant has it."""

    placement: Placement | None = None
    num_experts: int | None = None
    top_k: int | None = None
    expert: ExpertKind | None = None
    router: RouterKind | None = None


def model_config(
    variant: str,
    class_names: tuple[str, ...],
    input_hw: tuple[int, int],
    choice: MixtureChoice | None = None,
) -> ModelConfig:
    """The configuration of a named variant.

    Raises:
        ConfigError: no such variant (names those there are), or a choice that it does not leave.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r}; there are: {', '.join(VARIANTS)}")
    family, size = variant.split("-")
    config = _sized(ModelConfig(variant=variant, class_names=class_names, input_hw=input_hw), size)
    match family:
        case "esmoe":
            config = replace(config, neck="c3k", mixtures=_es_moe("backbone"))
        case "modular":
            config = replace(config, neck="c3k", mixtures=_modular())
        case "optimized":
            shared = replace(_pointwise(4), router=RouterConfig(kind="spatial"))
            config = replace(config, neck="c3k", mixtures=dict.fromkeys(_DEEP_PLACES, shared))
        case "ultra":
            config = replace(config, neck="c3k", mixtures=dict.fromkeys(_DEEP_PLACES, _ultra()))
        case "moehead":
            config = replace(config, mixtures=dict.fromkeys(HEAD_PLACES, _head()))
        case "sparsight":
            config = replace(config, plain_stages=PLAIN_PLACES, light=True, mixtures=_sparsight(size))
    return config if choice is None else _chosen(config, family, choice)


def _sized(config: ModelConfig, size: str) -> ModelConfig:
    match size:
        case "n":
            return config
        case "s":
            return replace(config, width=0.5)
        case "m":
            return replace(config, width=1.0, max_channels=512, deep_stages=True)
    large = replace(
        config, depth=1.0, max_channels=512, deep_stages=True, scaled_residual=True, mlp_ratio=1.2
    )
    return replace(large, width=1.0 if size == "l" else 1.5)


def growing_kernels(num_experts: int) -> tuple[int, ...]:
    """3, 5, 7, …: one receptive field for each expert of ES-MoE."""
    return tuple(3 + 2 * index for index in range(num_experts))


def _es_moe(placement: Placement) -> Mapping[str, MixtureConfig]:
    places = [place for place in MIXTURE_PLACES if placement in ("both", place.split(".")[0])]
    return dict.fromkeys(places, MixtureConfig())


def _pointwise(num_experts: int) -> MixtureConfig:
    """Equal experts of two 1×1 convolutions beside a shared one."""
    return MixtureConfig(
        num_experts=num_experts,
        expert="simple",
        kernel_sizes=(1,) * num_experts,
        shared_kernel=1,
        activate=False,
    )


def _modular() -> Mapping[str, MixtureConfig]:
    router = RouterConfig(kind="spatial", init_std=0.01, noise=1.0)
    counts = zip(_DEEP_PLACES, (4, 8, 16), strict=True)
    return {place: replace(_pointwise(experts), router=router) for place, experts in counts}


def _ultra() -> MixtureConfig:
    router = RouterConfig(kind="ultra", reduction=16, min_hidden=4, pool=8, noise=1.0, learn_temperature=True)
    # Without batch norm an expert may see only the images that chose it, in training as well.
    return replace(
        _pointwise(4), router=router, norm="group", weight_threshold=0.01, train_dispatch="grouped"
    )


def _head() -> MixtureConfig:
    return MixtureConfig(
        num_experts=4,
        top_k=4,
        kernel_sizes=(3,) * 4,
        activate=False,
        router=RouterConfig(min_hidden=256, dropout=0.1, learn_temperature=True),
    )


def _sparsight(size: str) -> Mapping[str, MixtureConfig]:
    """The mixtures do the work of the deep stages and of the neck, with full convolutions.

    75 % of n's operations are routed when all experts run, of s 72 %: what is fixed is the stem, the shallow
    stages, one stage of the neck and a light head. An expert is two 3×3 convolutions of the same shape as its
    peers', so that the chosen ones can run as one wide expert.
    """
    layer = MixtureConfig(
        router=RouterConfig(kind="moments"),
        expert="simple",
        kernel_sizes=(3,) * 4,
        expert_ratio=0.5 if size == "n" else 0.375,  # as many as leave K = 2 no slower than yolov12's
        shared_kernel=1,
        residual=True,
        activate=False,
    )
    return dict.fromkeys(PLAIN_PLACES, layer)


def _chosen(config: ModelConfig, family: str, choice: MixtureChoice) -> ModelConfig:
    if choice == MixtureChoice():
        return config
    if not config.mixtures:
        raise ConfigError(f"{config.variant} has no mixture whose experts could be chosen; take an esmoe one")
    if choice.placement is not None:
        if family != "esmoe":
            raise ConfigError(f"mixtures of {config.variant} stand where they stand; esmoe's can be placed")
        config = replace(config, mixtures=_es_moe(choice.placement))
    if choice.expert is not None and HEAD_PLACES[0] in config.mixtures:
        raise ConfigError(
            f"experts of {config.variant} are whole heads; it takes no expert={choice.expert!r}"
        )
    return replace(config, mixtures={p: _chosen_layer(m, choice) for p, m in config.mixtures.items()})


def _chosen_layer(mixture: MixtureConfig, choice: MixtureChoice) -> MixtureConfig:
    count = choice.num_experts or mixture.num_experts
    expert = choice.expert or mixture.expert
    kernels = mixture.kernel_sizes
    if count != mixture.num_experts or expert != mixture.expert:
        common = kernels[0] if len(set(kernels)) == 1 else 3
        kernels = growing_kernels(count) if expert == "depthwise" else (common,) * count
    top_k = min(mixture.top_k, count) if choice.top_k is None else choice.top_k
    router = mixture.router if choice.router is None else replace(mixture.router, kind=choice.router)
    return replace(
        mixture, num_experts=count, expert=expert, kernel_sizes=kernels, top_k=top_k, router=router
    )
