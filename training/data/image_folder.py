"""Reads images that are sorted into one folder for each class."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.image_file import IMAGE_SUFFIXES, VALIDATION, read_bytes, read_rgb, split_names
from training.data.remarks import Remarks
from training.data.sample import Sample, no_boxes
from training.errors import DatasetError

SPLITS = ("train", *VALIDATION)
NOT_CLASSES = frozenset({"images", "labels", "annotations"})  # folders of formats with boxes
HELD_OUT = 5  # without split folders, one image in so many is for validation
HASHED_BYTES = 65536  # of a file: tells images apart without reading all of a large one


class ImageFolderDataset:
    """One split: `<split>/<class>/*.jpg`, or `<class>/*.jpg` where the folder has no splits.

    `val`, `valid` and `validation` mean the same. Without split folders, every fifth image or so is `val` and
    the others are `train`, by a hash of the file, so that copies of an image are on one side.

    Attributes:
        class_names: the names of the folders of `train`, sorted.
    """

    def __init__(self, root: Path, split: str) -> None:
        """Find the files.

        Raises:
            DatasetError: there is no such split, there are no class folders or only one, a class has no
                images, or a split has a class that training has not.
        """
        self.remarks: Remarks = {}
        found = split_folder(root, split)
        by_class = _by_class(found or root)
        if found is None:
            by_class = {name: _held_out(root, files, split) for name, files in by_class.items()}
        training = root / "train" if (root / "train").is_dir() else found or root
        names = sorted(class_folders(training))
        _check(found or root, training, by_class, names)
        self.class_names = tuple(names)
        listed = [(path, class_id) for class_id, name in enumerate(names) for path in by_class.get(name, ())]
        if not listed:
            raise DatasetError(f"{found or root}: the split {split!r} has no images")
        self._paths = [path for path, _ in listed]
        self._class_ids = np.array([class_id for _, class_id in listed], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int) -> Sample:
        """Return the image upright, with its class. Raises DatasetError: it cannot be decoded."""
        path = self._paths[index]
        return Sample(
            read_rgb(path),
            no_boxes(),
            np.zeros(0, dtype=np.int64),
            f"{path.parent.name}/{path.stem}",
            image_class=int(self._class_ids[index]),
        )

    def encoded(self, index: int) -> bytes:
        """Return the image file as it is. Raises DatasetError: it cannot be read."""
        return read_bytes(self._paths[index])

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return the class of an image, (1,); it is not looked at."""
        return self._class_ids[index : index + 1]


def is_image_folder(root: Path, split: str) -> bool:
    """Return whether images lie in class folders, of this split or of the whole."""
    return bool(class_folders(split_folder(root, split) or root))


def split_folder(root: Path, split: str) -> Path | None:
    """Return the folder of a split; None: the folder has no splits.

    Raises:
        DatasetError: it has others.
    """
    for name in split_names(split):
        if (root / name).is_dir():
            return root / name
    others = [name for name in (*SPLITS, "test") if class_folders(root / name)]
    if others:
        raise DatasetError(f"{root}: no folder for split {split!r}; there are {', '.join(others)}")
    return None


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the folders directly in a folder that hold images, by name."""
    if not folder.is_dir():
        return {}
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name not in NOT_CLASSES]
    return {path.name: path for path in sorted(folders) if any(map(_is_image, path.iterdir()))}


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {
        path.name: sorted(filter(_is_image, path.iterdir()))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _held_out(root: Path, files: list[Path], split: str) -> list[Path]:
    """Return those of the files that belong to a split."""
    if split not in SPLITS:
        raise DatasetError(
            f"{root}: no folder for split {split!r}; without split folders there are train and val"
        )
    validation = split != "train"
    return [path for path in files if _is_validation(path) == validation]


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
