"""Which families there are, and which one a variant's name means."""

from typing import NamedTuple

from training.config import TASKS, TaskName
from training.errors import ConfigError
from training.models.families.esmoe import ESMOE
from training.models.families.family import Family
from training.models.families.modular import MODULAR
from training.models.families.moehead import MOEHEAD
from training.models.families.optimized import OPTIMIZED
from training.models.families.sparsight import SPARSIGHT
from training.models.families.ultra import ULTRA
from training.models.families.yolov12 import YOLOV12

FAMILIES = ("yolov12", "esmoe", "modular", "optimized", "ultra", "moehead", "sparsight")
_SUFFIXES: dict[TaskName, str] = {"detect": "", "classify": "-cls"}


def family_named(name: str) -> Family:
    """Return a family. Raises ConfigError: there is none of this name; names those there are."""
    match name:
        case "yolov12":
            family = YOLOV12
        case "esmoe":
            family = ESMOE
        case "modular":
            family = MODULAR
        case "optimized":
            family = OPTIMIZED
        case "ultra":
            family = ULTRA
        case "moehead":
            family = MOEHEAD
        case "sparsight":
            family = SPARSIGHT
        case _:
            raise ConfigError(f"no family {name!r}; there are: {', '.join(FAMILIES)}")
    return family


class VariantName(NamedTuple):
    """What a variant's name says: esmoe-n-cls is family esmoe, size n, task classify."""

    family: Family
    size: str
    task: TaskName

    def __str__(self) -> str:
        return f"{self.family.name}-{self.size}{_SUFFIXES[self.task]}"


def variants_of(task: TaskName) -> tuple[str, ...]:
    """Return the names of all variants for a task, by family, smallest first."""
    families = [family_named(name) for name in FAMILIES]
    return tuple(
        str(VariantName(family, size, task))
        for family in families
        if task in family.tasks
        for size in family.sizes
    )


def parse_variant(variant: str) -> VariantName:
    """Return what a variant's name says.

    Raises:
        ConfigError: no such variant; names those there are.
    """
    for task in TASKS:
        for name in FAMILIES:
            family = family_named(name)
            for size in family.sizes if task in family.tasks else "":
                found = VariantName(family, size, task)
                if str(found) == variant:
                    return found
    there_are = ", ".join(name for task in TASKS for name in variants_of(task))
    raise ConfigError(f"no variant {variant!r}; there are: {there_are}")
