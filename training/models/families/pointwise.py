"""YOLO-Master's later mixture layers, in the deep stages; each expert consists of two 1×1 convolutions.

Every layer also has a shared expert, which always runs.

`modular` is version 0.1 of YOLO-Master. `optimized` and `ultra` follow unpublished notes on
YOLO-Master's development.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from training.config import TASKS, LossConfig, MixtureConfig, ModelConfig, RouterConfig
from training.models.families.family import Family

_DEEP_PLACES = ("backbone.p3", "backbone.p4", "backbone.p5")
_GAIN = 0.15  # YOLO-Master v0.1 multiplies the sum of its routing losses by this
_LOSSES = LossConfig(balance=0.0, load=0.01 * _GAIN, z=0.001 * _GAIN)


def _pointwise(
    router: RouterConfig,
    experts: tuple[int, int, int] = (4, 4, 4),  # at strides 8, 16 and 32
    mixture: MixtureConfig | None = None,
) -> Callable[[ModelConfig], ModelConfig]:
    """Return a function that adds a mixture layer to each deep stage of a model configuration."""
    simple = replace(
        mixture or MixtureConfig(), router=router, expert="simple", shared_kernel=1, activate=False
    )
    mixtures = {
        place: replace(simple, num_experts=count, kernel_sizes=(1,) * count)
        for place, count in zip(_DEEP_PLACES, experts, strict=True)
    }
    return partial(replace, neck="c3k", mixtures=mixtures)


MODULAR = Family(
    name="modular",
    sizes="nsml",
    tasks=TASKS,
    configure=_pointwise(RouterConfig(kind="spatial", init_std=0.01, noise=1.0), experts=(4, 8, 16)),
    losses=_LOSSES,
)
OPTIMIZED = Family(
    name="optimized",
    sizes="n",
    configure=_pointwise(RouterConfig(kind="spatial")),
    losses=replace(_LOSSES, z=0.0),  # this model is older than the z-loss
)
ULTRA = Family(
    name="ultra",
    sizes="n",
    configure=_pointwise(
        RouterConfig(kind="ultra", reduction=16, min_hidden=4, pool=8, noise=1.0, learn_temperature=True),
        # With group norm, an expert can be trained on only the images for which it is chosen.
        mixture=MixtureConfig(norm="group", weight_threshold=0.01, train_dispatch="grouped"),
    ),
    losses=_LOSSES,
)
