"""Configures which images and labels are read: generated scenes, a folder, or several as one."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from training.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ScenesConfig:
    """Generated scenes: no files, exact boxes, the same for the same seed."""

    kind: Literal["scenes"] = "scenes"  # tells the three apart in JSON
    images: int = 512
    seed: int = 0
    image_hw: tuple[int, int] = (320, 320)
    labels: Literal["boxes", "class"] = "boxes"  # class: one kind of thing in each, which labels it

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ConfigError(f"images={self.images} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Images on disk with labels; the folder says in which format (training/data/README.md lists them).

    A split can be parted further: its images are dealt to `folds` in turn, and those of `kept` stay.
    """

    kind: Literal["folder"] = "folder"
    root: str
    split: str = "train"
    class_names: tuple[str, ...] = ()  # VOC lists no classes of its own; empty: collect them from the labels
    folds: int = 1
    kept: tuple[int, ...] = (0,)
    kept_classes: tuple[str, ...] = ()  # objects of all others are left out; empty: every class is kept

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise ConfigError(f"folds={self.folds} must be at least 1")
        if not self.kept or not set(self.kept) <= set(range(self.folds)):
            raise ConfigError(f"kept={self.kept} names none or others than the folds 0..{self.folds - 1}")


@dataclass(frozen=True, kw_only=True)
class CombinedConfig:
    """Several folders as one data set; their classes follow one another in the order of the parts."""

    kind: Literal["combined"] = "combined"
    parts: tuple[FolderConfig, ...]
    shared_classes: bool = False  # the parts have the same classes, in the same order: those of the whole

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("parts is empty: a combined data set needs a folder")


DataConfig = ScenesConfig | FolderConfig | CombinedConfig


def absolute(config: FolderConfig) -> FolderConfig:
    """Return the same data set, named so that a resumed run finds it from another working directory."""
    return replace(config, root=str(Path(config.root).resolve()))
