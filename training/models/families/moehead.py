"""YOLOv12 with a mixture detection head, which has four light heads per level and runs all of them.

The number of heads and the losses are taken from an unpublished summary of an implementation for YOLO models.
"""

from dataclasses import replace
from functools import partial

from training.config import HEAD_PLACES, LossConfig, MixtureConfig, RouterConfig
from training.models.families.family import Family

_MIXTURE = MixtureConfig(
    top_k=4,
    kernel_sizes=(3,) * 4,
    activate=False,
    router=RouterConfig(min_hidden=256, dropout=0.1, learn_temperature=True),
)

MOEHEAD = Family(
    name="moehead",
    sizes="n",
    configure=partial(replace, mixtures=dict.fromkeys(HEAD_PLACES, _MIXTURE)),
    losses=LossConfig(balance=0.0, diversity=0.01),  # as in that summary, which scales losses by no gain
)
