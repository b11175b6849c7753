"""Configurations of the named model variants; a variant is a configuration, not a class."""

from dataclasses import dataclass, replace
from typing import Any

from training.config import (
    HEAD_PLACES,
    OBJECT_TASKS,
    TASKS,
    ExpertKind,
    MixtureConfig,
    ModelConfig,
    RouterKind,
    places_of,
)
from training.errors import ConfigError
from training.models.families.choose import parse_variant, variants_of
from training.models.families.family import Family, Placement
from training.skeleton import Skeleton

# The sizes of YOLOv12 (arXiv:2502.12524, table 1), which all families use.
_DEEP = {"max_channels": 512, "deep_stages": True}
_LARGE = {**_DEEP, "depth": 1.0, "scaled_residual": True, "mlp_ratio": 1.2}
_SIZES: dict[str, dict[str, Any]] = {
    "n": {},
    "s": {"width": 0.5},
    "m": {**_DEEP, "width": 1.0},
    "l": {**_LARGE, "width": 1.0},
    "x": {**_LARGE, "width": 1.5},
}
DETECT_VARIANTS = variants_of("detect")
OBJECT_VARIANTS = tuple(variant for task in OBJECT_TASKS for variant in variants_of(task))
VARIANTS = tuple(variant for task in TASKS for variant in variants_of(task))


@dataclass(frozen=True, kw_only=True)
class MixtureChoice:
    """Changes to the mixture layers of a variant; a field that is None changes nothing."""

    placement: Placement | None = None
    num_experts: int | None = None
    top_k: int | None = None
    expert: ExpertKind | None = None
    router: RouterKind | None = None
    paths: int | None = None  # number of paths, for variants that have them


def model_config(
    variant: str,
    class_names: tuple[str, ...],
    input_hw: tuple[int, int],
    choice: MixtureChoice | None = None,
    skeleton: Skeleton | None = None,
) -> ModelConfig:
    """Return the configuration of a variant, with the changes in `choice`.

    Args:
        skeleton: the keypoints that a pose variant predicts; variants for other tasks ignore it.

    Raises:
        ConfigError: no variant has this name, the variant does not allow a change in `choice`, or it needs a
            skeleton.
    """
    family, size, task = parse_variant(variant)
    config = ModelConfig(variant=variant, class_names=class_names, input_hw=input_hw, **_SIZES[size])
    config = family.configure(config)
    places = places_of(task)
    if choice is not None and choice != MixtureChoice():
        config = _chosen(config, family, choice)
        if choice.placement is not None and not set(config.mixtures) <= set(places):
            raise ConfigError(f"{variant} has no neck: its mixtures can only be in the backbone")
    # Leave out mixtures at places that the task's network does not have.
    mixtures = {place: mixture for place, mixture in config.mixtures.items() if place in places}
    plain_stages = tuple(place for place in config.plain_stages if place in places)
    return replace(
        config,
        task=task,
        skeleton=skeleton if task == "pose" else None,
        mixtures=mixtures,
        plain_stages=plain_stages,
    )


def _chosen(config: ModelConfig, family: Family, choice: MixtureChoice) -> ModelConfig:
    if not config.mixtures:
        raise ConfigError(f"{config.variant} has no mixtures to change; choose an esmoe variant")
    if choice.placement is not None:
        if family.place is None:
            raise ConfigError(f"the placement of {config.variant}'s mixtures is fixed; esmoe's can be chosen")
        config = replace(config, mixtures=family.place(choice.placement))
    if choice.expert is not None and HEAD_PLACES[0] in config.mixtures:
        raise ConfigError(f"experts of {config.variant} are whole heads, not expert={choice.expert!r}")
    if choice.router is not None and config.paths is not None:
        raise ConfigError(
            f"{config.variant} has no routers in its layers, which follow paths: leave router out"
        )
    if choice.paths is not None:
        if config.paths is None:
            raise ConfigError(
                f"{config.variant} has a router in every layer and no paths; sparsight-path's can be chosen"
            )
        config = replace(config, paths=replace(config.paths, count=choice.paths))
    return replace(config, mixtures={p: _chosen_layer(m, choice) for p, m in config.mixtures.items()})


def _chosen_layer(mixture: MixtureConfig, choice: MixtureChoice) -> MixtureConfig:
    count = choice.num_experts or mixture.num_experts
    expert = choice.expert or mixture.expert
    kernels = mixture.kernel_sizes
    if count != mixture.num_experts or expert != mixture.expert:
        common = kernels[0] if len(set(kernels)) == 1 else 3
        kernels = tuple(range(3, 2 * count + 2, 2)) if expert == "depthwise" else (common,) * count
    usual_top_k = count if expert == "dynamic" else min(mixture.top_k, count)
    top_k = usual_top_k if choice.top_k is None else choice.top_k
    router = mixture.router if choice.router is None else replace(mixture.router, kind=choice.router)
    return replace(
        mixture, num_experts=count, expert=expert, kernel_sizes=kernels, top_k=top_k, router=router
    )
