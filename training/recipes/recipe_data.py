"""Which recipes have their own data sets, and which splits these have under the folder given with --data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.errors import ConfigError
from training.recipes.benchmarks import (
    BENCHMARK_RECIPES,
    coco_data,
    kitti_data,
    sku110k_data,
    visdrone_data,
    voc_data,
)
from training.recipes.splits import Splits
from training.recipes.starter import starter_choice_data, starter_data

_SPLITS: Mapping[str, Callable[[Path], Splits]] = {
    "starter": starter_data,
    "starter-choice": starter_choice_data,
    "coco": coco_data,
    "voc": voc_data,
    "visdrone": visdrone_data,
    "kitti": kitti_data,
    "sku110k": sku110k_data,
}
RECIPES_WITH_DATA = tuple(_SPLITS)


def refuse_splits(recipe: str | None, flags: Sequence[str], *, folder: bool) -> None:
    """Raise ConfigError if flags name splits, but the run would read no split by name.

    Args:
        recipe: the recipe of the run; a recipe with its own data also has its own splits.
        flags: the flags that were given to name splits.
        folder: whether a folder with data was given; generated scenes have no splits.
    """
    asked = " and ".join(flags)
    if recipe in _SPLITS and flags:
        raise ConfigError(f"recipe {recipe} trains and measures on splits of its own: leave {asked} out")
    if flags and not folder:
        raise ConfigError(f"generated scenes have no splits: give a folder with --data, or leave {asked} out")


def recipe_splits(recipe: str, root: Path | None) -> Splits | None:
    """Return the splits of a recipe's own data set, or None if the recipe takes any data.

    Raises:
        ConfigError: the recipe has its own data set, and no folder is given.
    """
    if recipe not in _SPLITS:
        return None
    if root is None:
        wanted = "holds bccd, aquarium and playing_cards"
        if recipe in BENCHMARK_RECIPES:
            wanted = f"`python -m training download {recipe} --to FOLDER` fills"
        raise ConfigError(f"recipe {recipe}: give the folder that {wanted}, with --data")
    return _SPLITS[recipe](root)
