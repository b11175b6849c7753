"""The recipes that have their own data sets, and the training and validation data of each.

`starter` combines three open data sets into one of 16 classes: `bccd` (cells under a microscope), `aquarium`
and `playing_cards`. Their images look different, so that a router can tell the three apart.

The other recipes are YOLO-Master's five benchmarks (arXiv:2512.23273, section 4.1). They read the folders
that the command `download` makes. The paper gives the numbers of images and classes of each data set, but
does not say which split it evaluates on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from training.data_config import CombinedConfig, DataConfig, FolderConfig
from training.errors import ConfigError

BENCHMARK_RECIPES = ("coco", "voc", "visdrone", "kitti", "sku110k")
CARD_FOLDS = 5  # playing cards have no validation split, so every fifth image is for validation
CHOICE_FOLDS = 8
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")  # the classes that KITTI's own benchmark evaluates


class Splits(NamedTuple):
    """The training data of a recipe, and its validation data."""

    train: DataConfig
    val: DataConfig


def starter_data(root: Path) -> Splits:
    """Return the training and validation splits of the starter's three data sets."""
    validation = (_folder(root / "bccd", "val"), _folder(root / "aquarium", "valid"), _cards(root, (0,)))
    return Splits(_starter_part(root, range(CHOICE_FOLDS), (1, 2, 3, 4)), CombinedConfig(parts=validation))


def starter_choice_data(root: Path) -> Splits:
    """Return two splits of the starter's training images, for choosing settings.

    The starter's validation images are in neither split, so they have no influence on the settings.
    """
    return Splits(_starter_part(root, range(1, CHOICE_FOLDS), (2, 3, 4)), _starter_part(root, (0,), (1,)))


def voc_data(root: Path) -> Splits:
    """Return the splits of VOC, which has 20 classes.

    The 16.5k training images are from 2007 and 2012. The validation images are the test set of 2007.
    """
    folder = root / "VOCdevkit"
    first = replace(_folder(folder / "VOC2007", "trainval"), class_names=VOC_CLASSES)
    second = replace(_folder(folder / "VOC2012", "trainval"), class_names=VOC_CLASSES)
    return Splits(CombinedConfig(parts=(first, second), shared_classes=True), replace(first, split="test"))


def kitti_data(root: Path) -> Splits:
    """Return the splits of KITTI, which has 7.5k labelled images of 3 classes.

    The lists in `ImageSets/` define the splits. Without these lists, every fifth image is for validation, so
    frames that are neighbours in time can be in different splits. The paper does not name its split, so our
    metrics are not exactly comparable with its metrics. Vans and sitting persons are regions to ignore, as in
    KITTI's own evaluation. The limits of that evaluation on size, occlusion and truncation are not applied.
    """
    train = replace(_folder(root, "train"), kept_classes=KITTI_CLASSES)
    return Splits(train, replace(train, split="val"))


def _starter_part(root: Path, kept: Sequence[int], kept_cards: tuple[int, ...]) -> CombinedConfig:
    """Return the training images of the starter that are in the given folds.

    Args:
        root: folder of the three data sets.
        kept: numbers of the folds whose images of blood cells and of aquarium animals are returned.
        kept_cards: numbers of the folds whose images of playing cards are returned.
    """
    cells, fish = (
        replace(_folder(root / name, "train"), folds=CHOICE_FOLDS, kept=tuple(kept))
        for name in ("bccd", "aquarium")
    )
    return CombinedConfig(parts=(cells, fish, _cards(root, kept_cards)))


def _cards(root: Path, kept: tuple[int, ...]) -> FolderConfig:
    return replace(_folder(root / "playing_cards", "train"), folds=CARD_FOLDS, kept=kept)


def _pair(root: Path, train: str, val: str) -> Splits:
    return Splits(_folder(root, train), _folder(root, val))


def _folder(root: Path, split: str) -> FolderConfig:
    return FolderConfig(root=str(root.resolve()), split=split)


_SPLITS: Mapping[str, Callable[[Path], Splits]] = {
    "starter": starter_data,
    "starter-choice": starter_choice_data,
    "coco": lambda root: _pair(root, "train2017", "val2017"),  # 118k and 5k images, 80 classes
    "voc": voc_data,
    "visdrone": lambda root: _pair(root, "train", "val"),  # 6.5k and 548 images, 10 classes
    "kitti": kitti_data,
    "sku110k": lambda root: _pair(root / "SKU110K_fixed", "train", "val"),  # 8.2k and 588 images, 1 class
}
RECIPES_WITH_DATA = tuple(_SPLITS)


def refuse_splits(recipe: str | None, flags: Sequence[str], *, folder: bool) -> None:
    """Raise ConfigError if the user names splits, but the run has fixed splits or none.

    Args:
        recipe: the run's recipe; a recipe with its own data also has its own splits.
        flags: the flags given by the user that name splits.
        folder: whether the user gave a folder with data; otherwise scenes are generated, without splits.
    """
    given = " and ".join(flags)
    if recipe in _SPLITS and flags:
        raise ConfigError(f"recipe {recipe} trains and measures on splits of its own: leave {given} out")
    if flags and not folder:
        raise ConfigError(f"generated scenes have no splits: give a folder with --data, or leave {given} out")


def recipe_splits(recipe: str, root: Path | None) -> Splits | None:
    """Return the splits of the recipe's data set in the folder `root`; None if the recipe has no data set.

    Raises:
        ConfigError: the recipe has its own data set, but `root` is None.
    """
    if recipe not in _SPLITS:
        return None
    if root is None:
        wanted = "holds bccd, aquarium and playing_cards"
        if recipe in BENCHMARK_RECIPES:
            wanted = f"`python -m training download {recipe} --to FOLDER` fills"
        raise ConfigError(f"recipe {recipe}: give the folder that {wanted}, with --data")
    return _SPLITS[recipe](root)
