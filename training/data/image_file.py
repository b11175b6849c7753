"""Decodes an image file to RGB, and finds the image files of a folder."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode to (H, W, 3) RGB, turned upright as EXIF says.

    Raises:
        DatasetError: the file cannot be read, or is not an image.
    """
    encoded = np.frombuffer(read_bytes(path), dtype=np.uint8)
    # imdecode refuses an empty buffer with an exception and bad bytes with None.
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if encoded.size else None
    if image is None:
        raise DatasetError(f"{path}: not an image that can be decoded; replace the file or remove it")
    return image.astype(np.uint8, copy=False)


def read_bytes(path: Path) -> bytes:
    """The file as it is. Raises DatasetError: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The image files directly in a folder, by name without suffix, sorted; the suffix may be upper case."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.stem: path for path in files}


def images_by_name(folder: Path) -> dict[str, Path]:
    """The image files directly in a folder, by name as it is and by name in lower case."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return {path.name.lower(): path for path in files} | {path.name: path for path in files}
