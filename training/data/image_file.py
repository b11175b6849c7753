"""Decodes an image file to RGB, and finds the image files of a folder or split."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".jp2"),
)
UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jxl", ".svg", ".psd", ".ico", ".tga", ".exr", ".hdr", ".dcm", ".npy"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".j2k", ".jpx", ".ppm", ".pgm", ".pnm"),
)

VALIDATION = ("val", "valid", "validation")  # three names for the same split


def split_names(split: str) -> tuple[str, ...]:
    """Return the folder names that a split may have, the given name first: `val` may also be `valid`."""
    return tuple(dict.fromkeys((split, *VALIDATION))) if split in VALIDATION else (split,)


def read_rgb(path: Path, *, upright: bool = True) -> NDArray[np.uint8]:
    """Return the image in a file as (H, W, 3) RGB.

    Args:
        upright: whether to rotate the image by its EXIF orientation; False: return the pixels as stored.

    Raises:
        DatasetError: the file cannot be read, or is not an image.
    """
    encoded = np.frombuffer(read_bytes(path), dtype=np.uint8)
    # imdecode raises an exception on an empty buffer, and returns None on bad bytes.
    flags = cv2.IMREAD_COLOR_RGB | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    image = cv2.imdecode(encoded, flags) if encoded.size else None
    if image is None:
        raise DatasetError(f"{path}: not an image that can be decoded; replace the file or remove it")
    return image.astype(np.uint8, copy=False)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an image file, or of the image that a LabelMe file holds.

    Raises:
        DatasetError: the file cannot be read, or is a json file that holds no image.
    """
    try:
        if path.suffix.lower() == ".json":
            return b64decode(json.loads(path.read_bytes())["imageData"], validate=True)
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: its imageData is not base64; put the image beside it") from error


def is_image(path: Path) -> bool:
    """Return whether a path ends like an image file, in any case; hidden files do not count."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def passed_over(files: Iterable[Path]) -> Counter[str]:
    """Return how many images are in a format that is not read, as remarks."""
    suffixes = Counter(path.suffix.lower() for path in files if not path.name.startswith("."))
    return Counter(
        {
            f"images in a format that is not read ({suffix}), left out": count
            for suffix, count in suffixes.items()
            if suffix in UNREAD_SUFFIXES
        }
    )


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Return the image files directly in a folder, sorted, by file name without suffix.

    Raises:
        DatasetError: two names differ only in their suffix, so that a label file's name fits both images.
    """
    found: dict[str, Path] = {}
    for path in sorted(filter(is_image, folder.iterdir())):
        first = found.setdefault(path.stem, path)
        if first != path:
            raise DatasetError(
                f"{first} and {path.name} have the same labels, which go by the name without suffix; "
                "rename one with its labels, or take it out"
            )
    return found


def images_by_name(folder: Path) -> dict[str, Path]:
    """Return the image files directly in a folder, by file name and also by file name in lower case."""
    files = list(filter(is_image, folder.iterdir()))
    return {path.name.lower(): path for path in files} | {path.name: path for path in files}
