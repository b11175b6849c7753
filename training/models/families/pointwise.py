"""The common part of YOLO-Master's later mixtures: experts of two 1×1 convolutions, and their losses."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from training.config import LossConfig, MixtureConfig, ModelConfig, RouterConfig

_DEEP_PLACES = ("backbone.p3", "backbone.p4", "backbone.p5")
_GAIN = 0.15  # YOLO-Master v0.1 multiplies the sum of its routing losses by this
LOSSES = LossConfig(balance=0.0, load=0.01 * _GAIN, z=0.001 * _GAIN)


def pointwise(
    router: RouterConfig, experts: tuple[int, int, int] = (4, 4, 4), mixture: MixtureConfig | None = None
) -> Callable[[ModelConfig], ModelConfig]:
    """Return a function that adds a mixture to each deep stage of a model configuration.

    Each mixture has equal pointwise experts and a shared expert.

    Args:
        router: the router of all mixtures.
        experts: the number of experts at strides 8, 16 and 32.
        mixture: the other settings of the mixtures; None: the defaults.
    """
    simple = replace(
        mixture or MixtureConfig(), router=router, expert="simple", shared_kernel=1, activate=False
    )
    mixtures = {
        place: replace(simple, num_experts=count, kernel_sizes=(1,) * count)
        for place, count in zip(_DEEP_PLACES, experts, strict=True)
    }
    return partial(replace, neck="c3k", mixtures=mixtures)
