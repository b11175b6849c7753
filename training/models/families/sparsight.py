"""Our own: mixtures do the work of the deep stages and of the neck, with full convolutions."""

from dataclasses import replace

from training.config import PLAIN_PLACES, LossConfig, MixtureConfig, ModelConfig, RouterConfig
from training.models.families.family import Family


def _configure(config: ModelConfig) -> ModelConfig:
    """Route 75 % of n's operations when all experts run, 72 % of s's.

    What is fixed is the stem, the shallow stages, one stage of the neck and a light head. An expert is two
    3×3 convolutions of the same shape as its peers', so that the chosen ones can run as one wide expert.
    """
    mixture = MixtureConfig(
        router=RouterConfig(kind="moments"),
        expert="simple",
        kernel_sizes=(3,) * 4,
        # As many as leave K = 2 no slower than yolov12's, in n and in s.
        expert_ratio=0.5 if config.width == 0.25 else 0.375,
        shared_kernel=1,
        residual=True,
        activate=False,
    )
    mixtures = dict.fromkeys(PLAIN_PLACES, mixture)
    return replace(config, plain_stages=PLAIN_PLACES, light=True, mixtures=mixtures)


SPARSIGHT = Family(
    name="sparsight",
    sizes="ns",
    tasks=("detect", "classify"),
    configure=_configure,
    losses=LossConfig(balance=0.0, information=0.5, coverage=0.1),
    # One expert, the usual number twice as often, and all.
    trained_top_ks=lambda model: (1, model.top_k, model.top_k, model.allowed_top_k[-1]),
)
