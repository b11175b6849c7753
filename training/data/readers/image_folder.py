"""Reads data sets that have one folder of images for each class."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.images.image_file import (
    VALIDATION,
    ImageReader,
    is_image,
    passed_over,
    read_bytes,
    split_names,
)
from training.data.images.reduced_jpeg import Fit
from training.data.labels.files_below import files_below
from training.data.labels.remarks import DEEPER, Remarks
from training.data.sample import Sample, no_boxes
from training.errors import DatasetError, NoSuchSplit
from training.skeleton import Skeleton

SPLITS = ("train", *VALIDATION)
NOT_CLASSES = frozenset({"images", "labels", "annotations"})  # folders of box label formats
HELD_OUT = 5  # without split folders, about one image in HELD_OUT is for validation
HASHED_BYTES = 65536  # first bytes of a file that are hashed: enough to tell images apart


class ImageFolderDataset:
    """One split: `<split>/<class>/*.jpg`, or `<class>/*.jpg` if there are no split folders.

    The classes are the folders of `train`, sorted by name. `val`, `valid` and `validation` mean the same
    split. If there are no split folders, a hash of each file decides: about one image in five belongs to
    `val`, the others belong to `train`. Therefore identical files are always in the same split.
    """

    skeleton: Skeleton | None = None

    def __init__(self, root: Path, split: str) -> None:
        """Find the image files of a split.

        Raises:
            DatasetError: the split does not exist or is empty, there are fewer than two class folders, a
                class has no images, or the split has a class that `train` does not have.
        """
        found = split_folder(root, split)
        by_class = _by_class(found or root)
        if found is None:
            by_class = {name: _held_out(root, files, split) for name, files in by_class.items()}
        training = root / "train" if (root / "train").is_dir() else found or root
        names = class_folders(training)
        _check(found or root, training, by_class, names)
        self.class_names = tuple(names)
        listed = [(path, class_id) for class_id, name in enumerate(names) for path in by_class.get(name, ())]
        if not listed:
            raise DatasetError(f"{found or root}: the split {split!r} has no images")
        self._paths = [path for path, _ in listed]
        inside = [path for name in names for path in files_below((found or root) / name)]
        deeper = sum(is_image(path) and path.parent.parent != (found or root) for path in inside)
        remarks = passed_over(inside)
        remarks[DEEPER] = deeper
        self.remarks: Remarks = remarks
        self.reader = ImageReader(remarks)
        self._class_ids = np.array([class_id for _, class_id in listed], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an upright image with its class; raise DatasetError if the image cannot be decoded."""
        path = self._paths[index]
        image = self.reader.read(path, fit)
        return Sample(
            image.pixels,
            no_boxes(),
            np.zeros(0, dtype=np.int64),
            f"{path.parent.name}/{path.stem}",
            image_class=int(self._class_ids[index]),
            reduced=image.reduced,
        )

    def name(self, index: int) -> str:
        """Return the path of an image's file."""
        return str(self._paths[index])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image file; raise DatasetError if it cannot be read."""
        return read_bytes(self._paths[index])

    def path(self, index: int) -> Path:
        """Return the file of an image."""
        return self._paths[index]

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return the class id of an image, (1,), without reading the image."""
        return self._class_ids[index : index + 1]


def is_image_folder(root: Path, split: str) -> bool:
    """Return whether the split's folder has folders of images; without split folders, check the root."""
    return root.is_dir() and bool(class_folders(split_folder(root, split) or root))


def split_folder(root: Path, split: str) -> Path | None:
    """Return the folder of a split; None if the root has no split folders at all.

    Raises:
        DatasetError: the root has folders of other splits, but not of this split.
    """
    for name in split_names(split):
        if (root / name).is_dir():
            return root / name
    others = [name for name in (*SPLITS, "test") if class_folders(root / name)]
    if others:
        raise NoSuchSplit(f"{root}: no folder for split {split!r}; there are {', '.join(others)}")
    return None


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the subfolders that directly hold images; none if `folder` is missing."""
    if not folder.is_dir():
        return []
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name not in NOT_CLASSES]
    return sorted(path.name for path in folders if any(map(is_image, path.iterdir())))


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {
        path.name: sorted(filter(is_image, path.iterdir()))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


def _held_out(root: Path, files: list[Path], split: str) -> list[Path]:
    """Return the files of a split for a root without split folders, where a hash of each file decides."""
    if split not in SPLITS:
        raise NoSuchSplit(
            f"{root}: no folder for split {split!r}; without split folders there are train and val"
        )
    return [path for path in files if _is_validation(path) == (split != "train")]


def _is_validation(path: Path) -> bool:
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(HASHED_BYTES)).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT == 0


def _check(folder: Path, training: Path, by_class: Mapping[str, list[Path]], names: list[str]) -> None:
    if not by_class:
        raise DatasetError(
            f"{folder}: no class folders; put the images of each class into a folder of its own"
        )
    unknown = sorted(by_class.keys() - set(names))
    empty = [name for name in unknown if not by_class[name]]
    if empty:
        raise DatasetError(
            f"{folder / empty[0]}: no images of this class; put some there or remove the folder"
        )
    if unknown:
        raise DatasetError(f"{folder / unknown[0]}: {training} has no class of that name; it has {names}")
    if len(names) < 2:
        raise DatasetError(
            f"{training}: {names[0]} is the only class; a classifier needs at least two class folders"
        )
