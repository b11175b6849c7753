"""Decodes an image file to RGB, and finds the image files of a folder or split."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

VALIDATION = ("val", "valid", "validation")  # three names of one split


def split_names(split: str) -> tuple[str, ...]:
    """Return the names that the folder of a split may have, the given one first."""
    others = VALIDATION if split in VALIDATION else ()
    return (split, *(name for name in others if name != split))


def read_rgb(path: Path, *, upright: bool = True) -> NDArray[np.uint8]:
    """Decode to (H, W, 3) RGB, turned upright as EXIF says, or with the pixels as they are stored.

    Raises:
        DatasetError: the file cannot be read, or is not an image.
    """
    encoded = np.frombuffer(read_bytes(path), dtype=np.uint8)
    # imdecode refuses an empty buffer with an exception and bad bytes with None.
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    image = cv2.imdecode(encoded, flags) if encoded.size else None
    if image is None:
        raise DatasetError(f"{path}: not an image that can be decoded; replace the file or remove it")
    return image.astype(np.uint8, copy=False)


def read_bytes(path: Path) -> bytes:
    """Return the file as it is; raise DatasetError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Return the image files directly in a folder by name without suffix, sorted; in either case.

    Raises:
        DatasetError: two of them have one name, so that labels, which go by it, do not say which they mean.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES):
        first = found.setdefault(path.stem, path)
        if first != path:
            raise DatasetError(
                f"{first} and {path.name} have the same labels, which go by the name without suffix; "
                "rename one with its labels, or take it out"
            )
    return found


def images_by_name(folder: Path) -> dict[str, Path]:
    """Return the image files directly in a folder, by name as it is and by name in lower case."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return {path.name.lower(): path for path in files} | {path.name: path for path in files}
