"""Our own families, in which mixture layers replace the blocks of the deep stages and the neck.

The experts are full convolutions. In `sparsight`, each layer chooses its experts from its own features. In
`sparsight-path`, a router chooses a path through all layers before the network runs.
"""

from dataclasses import replace

from training.config import (
    PLAIN_P2,
    PLAIN_PLACES,
    TASKS,
    LossConfig,
    MixtureConfig,
    ModelConfig,
    PathConfig,
    RouterConfig,
)
from training.models.families.family import Family


def _configure(config: ModelConfig) -> ModelConfig:
    """Return the configuration with mixture layers.

    If a model runs every expert, the experts take 75 % (size n) or 72 % (size s) of the operations. The
    stem, the shallow stages, one stage of the neck and a light head always run. All experts of a layer have
    the same shape, so that the experts chosen for an image can run as one wide expert.
    """
    mixture = MixtureConfig(
        router=RouterConfig(kind="moments"),
        expert="simple",
        kernel_sizes=(3,) * 4,
        # The largest widths at which top_k 2 is no slower than yolov12, for n and s.
        expert_ratio=0.5 if config.width == 0.25 else 0.375,
        shared_kernel=1,
        residual=True,
        activate=False,
    )
    mixtures = dict.fromkeys(PLAIN_PLACES, mixture)
    return replace(config, plain_stages=PLAIN_PLACES, light=True, mixtures=mixtures)


def _with_paths(config: ModelConfig) -> ModelConfig:
    """Return the configuration with paths instead of routers, and with less compute than `sparsight`.

    Stage p2 has no block and half the channels, because the shallow stages take a quarter of the time if one
    expert runs. Experts are narrower, so that a path with two experts is clearly faster than yolov12.
    """
    config = _configure(config)
    ratio = 0.375 if config.width == 0.25 else 0.3125
    mixtures = {place: replace(mixture, expert_ratio=ratio) for place, mixture in config.mixtures.items()}
    stages = (PLAIN_P2, *config.plain_stages)
    return replace(config, plain_stages=stages, mixtures=mixtures, paths=PathConfig())


SPARSIGHT = Family(
    name="sparsight",
    sizes="ns",
    tasks=TASKS,
    configure=_configure,
    losses=LossConfig(balance=0.0, information=0.5, coverage=0.1),
    # Images draw one expert, the default number (which is twice as likely), or all experts.
    trained_top_ks=lambda model: tuple(
        k for k in (1, model.top_k, model.top_k, model.allowed_top_k[-1]) if k in model.allowed_top_k
    ),
)

SPARSIGHT_PATH = replace(
    SPARSIGHT,
    name="sparsight-path",
    configure=_with_paths,
    # On generated scenes, some paths stayed dead without path_load, although all paths had the same mean
    # probability. A weight of 1 made the choice of a path so undecided that it lost a third of its bits.
    losses=replace(SPARSIGHT.losses, path_information=0.5, path_coverage=0.1, path_load=0.3),
)
