"""The data of the recipe `starter`: three open data sets, combined into one of 16 classes.

They are subfolders of one folder: `bccd` (cells under a microscope), `aquarium` and `playing_cards`. They
look different, so that a router can tell them apart.
"""

from pathlib import Path

from training.data_config import CombinedConfig, FolderConfig
from training.recipes.splits import Splits

CARD_FOLDS = 5  # playing cards have no validation split: every fifth image is for validation
CHOICE_FOLDS = 8


def starter_data(root: Path) -> Splits:
    """Return the training and validation splits of the three data sets under a folder."""
    validation = (_folder(root, "bccd", "val"), _folder(root, "aquarium", "valid"), _cards(root, (0,)))
    return Splits(_training(root, range(CHOICE_FOLDS), (1, 2, 3, 4)), CombinedConfig(parts=validation))


def starter_choice_data(root: Path) -> Splits:
    """Return two splits of starter's training images only, for choosing settings.

    The validation images of `starter` are in neither split, so that its metrics stay those of unseen images.
    """
    return Splits(_training(root, range(1, CHOICE_FOLDS), (2, 3, 4)), _training(root, range(1), (1,)))


def _training(root: Path, kept: range, kept_cards: tuple[int, ...]) -> CombinedConfig:
    cells, fish = (
        FolderConfig(root=_path(root, name), split="train", folds=CHOICE_FOLDS, kept=tuple(kept))
        for name in ("bccd", "aquarium")
    )
    return CombinedConfig(parts=(cells, fish, _cards(root, kept_cards)))


def _cards(root: Path, kept: tuple[int, ...]) -> FolderConfig:
    return FolderConfig(root=_path(root, "playing_cards"), split="train", folds=CARD_FOLDS, kept=kept)


def _folder(root: Path, name: str, split: str) -> FolderConfig:
    return FolderConfig(root=_path(root, name), split=split)


def _path(root: Path, name: str) -> str:
    return str((root / name).resolve())
