"""Configurations of data sets: generated scenes, a folder, or several folders as one data set."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from training.errors import ConfigError

BITS = range(8, 17)  # numbers of bits that an image file with 16 bits per value may hold
LabelKind = Literal["boxes", "masks", "keypoints", "corners"]  # corners: oriented boxes
Labels = Literal[LabelKind, "class"]  # class: of a whole image
FORMATS = (
    "yolo",
    "coco",
    "dota",
    "sku110k",
    "kitti",
    "visdrone",
    "voc",
    "labelme",
    "images",
)  # see the table in data/open.py


@dataclass(frozen=True, kw_only=True)
class ScenesConfig:
    """Scenes generated in memory, with exact boxes; the same seed gives the same scenes."""

    kind: Literal["scenes"] = "scenes"  # tells the three kinds of configuration apart in JSON
    images: int = 512
    seed: int = 0
    image_hw: tuple[int, int] = (320, 320)
    # class: one kind of object per scene; keypoints: only rays; corners: only elongated objects
    labels: Labels = "boxes"

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ConfigError(f"images={self.images} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """A folder with images and labels, or a file that describes such data (training/data/README.md).

    A split can be divided further. With `folds`, image i belongs to fold i modulo `folds`, and only images of
    the folds in `kept` are used. With `hold_out`, a hash of each image's file decides whether it is held out.
    """

    kind: Literal["folder"] = "folder"
    root: str  # a folder, or a file such as data.yaml, labels.json or obj.data
    format: str = ""  # one of FORMATS; empty: the contents show the format
    split: str = "train"
    class_names: tuple[str, ...] = ()  # VOC has no list of classes; empty: collect them from its labels
    folds: int = 1
    kept: tuple[int, ...] = (0,)
    kept_classes: tuple[str, ...] = ()  # objects of other classes are left out; empty: keep all classes
    bits: int | None = None  # used bits of image files with 16 bits per value; None: as each file says
    hold_out: float = 0.0  # share of the split's images that are held out; 0: none
    held_out: bool = False  # True: only the images held out; False: only the others
    labels: LabelKind = "boxes"  # what is read of each object beside its box

    def __post_init__(self) -> None:
        if self.bits is not None and self.bits not in BITS:
            raise ConfigError(f"bits={self.bits} must be from 8 to 16")
        if self.folds < 1:
            raise ConfigError(f"folds={self.folds} must be at least 1")
        if not self.kept or not set(self.kept) <= set(range(self.folds)):
            raise ConfigError(f"kept={self.kept} must name one or more of the folds 0..{self.folds - 1}")
        if self.format not in ("", *FORMATS):
            raise ConfigError(f"format={self.format!r} is none of {', '.join(FORMATS)}")
        if not 0 <= self.hold_out < 1:
            raise ConfigError(f"hold_out={self.hold_out:g} must be at least 0 and less than 1")


@dataclass(frozen=True)
class Reading:
    """Settings for reading a folder, without its split and classes; FolderConfig explains the fields."""

    format: str = ""
    hold_out: float = 0.0
    bits: int | None = None

    @property
    def usual_split(self) -> str:
        """Return the split to measure on if the user names none.

        The split is `train` if some of its images are held out from training. Otherwise it is `val`.
        """
        return "train" if self.hold_out else "val"


AS_FOUND = Reading()  # the contents show the format, and nothing is held out


@dataclass(frozen=True, kw_only=True)
class CombinedConfig:
    """Several folders as one data set.

    With `shared_classes`, all folders have the same classes. Without it, no two folders share a class. Then
    the data set has the classes of all folders, in the order of the folders.
    """

    kind: Literal["combined"] = "combined"
    parts: tuple[FolderConfig, ...]
    shared_classes: bool = False  # all parts have the same classes, in the same order

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("parts is empty: a combined data set needs a folder")


DataConfig = ScenesConfig | FolderConfig | CombinedConfig


def absolute(config: FolderConfig) -> FolderConfig:
    """Return the configuration with an absolute root, so that a run can resume from another directory."""
    return replace(config, root=str(Path(config.root).resolve()))
