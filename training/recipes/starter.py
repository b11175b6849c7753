"""Three open data sets as one of 16 classes: what the recipe `starter` trains on.

In one folder: `bccd` (cells under a microscope), `aquarium` and `playing_cards`. They look different, so that
a router has something to go by.
"""

from pathlib import Path
from typing import NamedTuple

from training.data_config import CombinedConfig, FolderConfig

CARD_FOLDS = 5  # playing cards have no validation split: every fifth image is one
CHOICE_FOLDS = 8


class StarterData(NamedTuple):
    """Figures are those of `val`; settings are chosen on `choice`, by training on `less`."""

    train: CombinedConfig
    val: CombinedConfig
    less: CombinedConfig  # train without choice
    choice: CombinedConfig


def starter_data(root: Path) -> StarterData:
    """Where the three lie under a folder, and how they are parted."""
    cells, fish, cards = (str((root / name).resolve()) for name in ("bccd", "aquarium", "playing_cards"))

    def part(cells_and_fish: tuple[int, ...], of_cards: tuple[int, ...]) -> CombinedConfig:
        return CombinedConfig(
            parts=(
                FolderConfig(root=cells, split="train", folds=CHOICE_FOLDS, kept=cells_and_fish),
                FolderConfig(root=fish, split="train", folds=CHOICE_FOLDS, kept=cells_and_fish),
                FolderConfig(root=cards, split="train", folds=CARD_FOLDS, kept=of_cards),
            )
        )

    every = tuple(range(CHOICE_FOLDS))
    return StarterData(
        train=part(every, (1, 2, 3, 4)),
        val=CombinedConfig(
            parts=(
                FolderConfig(root=cells, split="val"),
                FolderConfig(root=fish, split="valid"),
                FolderConfig(root=cards, split="train", folds=CARD_FOLDS, kept=(0,)),
            )
        ),
        less=part(every[1:], (2, 3, 4)),
        choice=part(every[:1], (1,)),
    )
