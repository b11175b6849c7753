"""What defines a model family: the configuration of its models, their losses, and how they are trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from training.config import LossConfig, MixtureConfig, ModelConfig, TaskName

Placement = Literal["backbone", "neck", "both"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one architecture in several sizes.

    Attributes:
        sizes: one letter per size, smallest first.
        tasks: the tasks for which the family has models.
        configure: turns the plain configuration of a size (sizes.py) into one of the family.
        losses: weights of the loss terms; those of boxes and classes are the same for all families.
        trained_top_ks: the values from which each image of a training step draws its top_k; empty: always the
            model's top_k.
        paper_losses: weights for the recipe `paper`; None: `losses`.
        paper_schedule: learning rate schedule of the recipe `paper`.
        place: returns the mixtures for a placement; None: the placement is fixed.
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
