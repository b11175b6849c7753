"""What YOLO-Master's later mixtures share: experts of two 1×1 convolutions in the deep stages, and losses."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from training.config import LossConfig, MixtureConfig, ModelConfig, RouterConfig

_DEEP_PLACES = ("backbone.p3", "backbone.p4", "backbone.p5")
_GAIN = 0.15  # YOLO-Master v0.1 multiplies the sum of its routers' terms by this before it adds it
LOSSES = LossConfig(balance=0.0, load=0.01 * _GAIN, z=0.001 * _GAIN)


def pointwise(
    router: RouterConfig, experts: tuple[int, int, int] = (4, 4, 4), mixture: MixtureConfig | None = None
) -> Callable[[ModelConfig], ModelConfig]:
    """Return what puts a mixture of equal experts beside a shared one into each deep stage.

    Args:
        experts: how many there are at strides 8, 16 and 32.
        mixture: whatever else of it differs.
    """
    simple = replace(
        mixture or MixtureConfig(), router=router, expert="simple", shared_kernel=1, activate=False
    )
    mixtures = {
        place: replace(simple, num_experts=count, kernel_sizes=(1,) * count)
        for place, count in zip(_DEEP_PLACES, experts, strict=True)
    }
    return partial(replace, neck="c3k", mixtures=mixtures)
