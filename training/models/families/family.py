"""The definition of a model family: the configuration of its models, and how they are trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from training.config import OBJECT_TASKS, LossConfig, MixtureConfig, ModelConfig, TaskName

Placement = Literal["backbone", "neck", "both"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """An architecture in several sizes, with the configuration and the training settings of its models."""

    name: str
    sizes: str  # one letter per size, smallest first
    tasks: tuple[TaskName, ...] = OBJECT_TASKS
    configure: Callable[[ModelConfig], ModelConfig] = replace  # changes the YOLOv12 configuration of a size
    losses: LossConfig = field(default_factory=LossConfig)
    # Training draws each image's top_k from these; if there are none, it uses the model's top_k.
    trained_top_ks: Callable[[ModelConfig], tuple[int, ...]] = lambda model: ()
    paper_losses: LossConfig | None = None  # for the recipe `paper`; None: `losses`
    paper_schedule: Literal["cosine", "linear"] = "linear"  # learning rate schedule of the recipe `paper`
    # Returns the mixture layers, by place, for a placement; None: the placement is fixed.
    place: Callable[[Placement], Mapping[str, MixtureConfig]] | None = None
