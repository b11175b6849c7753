"""What a family answers: the configuration of its models, their losses, how they are trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from training.config import LossConfig, MixtureConfig, ModelConfig, TaskName

Placement = Literal["backbone", "neck", "both"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one architecture in several sizes.

    Attributes:
        sizes: a letter each, smallest first.
        tasks: which heads its backbone can have.
        configure: makes a plain model of a size (sizes.py) one of the family.
        losses: weights of the loss; those of boxes and classes are the same for all families.
        trained_top_ks: of which every image of a step draws its own; empty: the model's.
        paper_losses: of the recipe `paper`; None: `losses`.
        paper_schedule: how the learning rate of the recipe `paper` falls.
        place: the mixtures at a placement; None: they stand where they stand.
    """

    name: str
    sizes: str
    tasks: tuple[TaskName, ...] = ("detect",)
    configure: Callable[[ModelConfig], ModelConfig] = replace
    losses: LossConfig = field(default_factory=LossConfig)
    trained_top_ks: Callable[[ModelConfig], tuple[int, ...]] = lambda model: ()
    paper_losses: LossConfig | None = None
    paper_schedule: Literal["cosine", "linear"] = "linear"
    place: Callable[[Placement], Mapping[str, MixtureConfig]] | None = None
