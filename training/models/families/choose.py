"""All model families, and parsing of variant names."""

from typing import NamedTuple

from training.config import TASK_SUFFIXES, TASKS, TaskName
from training.errors import ConfigError
from training.models.families.esmoe import ESMOE
from training.models.families.family import Family
from training.models.families.moehead import MOEHEAD
from training.models.families.pointwise import MODULAR, OPTIMIZED, ULTRA
from training.models.families.sparsight import SPARSIGHT, SPARSIGHT_PATH

YOLOV12 = Family(name="yolov12", sizes="nsmlx", tasks=TASKS)  # arXiv:2502.12524; no mixtures
FAMILIES = (YOLOV12, ESMOE, MODULAR, OPTIMIZED, ULTRA, MOEHEAD, SPARSIGHT, SPARSIGHT_PATH)


class VariantName(NamedTuple):
    """The parts of a variant's name; for example, esmoe-n-cls is family esmoe, size n, task classify."""

    family: Family
    size: str
    task: TaskName

    def __str__(self) -> str:
        return f"{self.family.name}-{self.size}{TASK_SUFFIXES[self.task]}"


_VARIANTS = tuple(
    VariantName(family, size, task)
    for task in TASKS
    for family in FAMILIES
    if task in family.tasks
    for size in family.sizes
)


def variants_of(task: TaskName) -> tuple[str, ...]:
    """Return the names of all variants for a task, family by family, with the smallest size first."""
    return tuple(str(variant) for variant in _VARIANTS if variant.task == task)


def parse_variant(variant: str) -> VariantName:
    """Return the parts of a variant's name; raise ConfigError, with all names, if no variant has it."""
    by_name = {str(each): each for each in _VARIANTS}
    if variant not in by_name:
        raise ConfigError(f"no variant {variant!r}; there are: {', '.join(by_name)}")
    return by_name[variant]
