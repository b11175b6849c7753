"""Reads the image files of a data set as RGB, and lists the image files in a folder."""

import json
import logging
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.images.image_decoding import Decoded, ImageFileError, decode_image
from training.data.images.reduced_jpeg import Fit
from training.data.labels.remarks import PARTS_NOT_READ
from training.errors import DatasetError

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif"),
)
UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".jp2", ".jxl", ".svg", ".psd", ".ico", ".tga", ".exr", ".hdr", ".dcm", ".npy"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".j2k", ".jpx", ".ppm", ".pgm", ".pnm"),
)

VALIDATION = ("val", "valid", "validation")  # three names for the same split


def split_names(split: str) -> tuple[str, ...]:
    """Return the names that the folder of a split can have, `split` first; `val` can also be `valid`."""
    return tuple(dict.fromkeys((split, *VALIDATION))) if split in VALIDATION else (split,)


def read_image(path: Path, bits: int | None = None, fit: Fit | None = None) -> Decoded:
    """Return the upright image in a file, its EXIF orientation, and notes on ignored parts of the file.

    Args:
        bits: how many bits of each value are in use, for a file with 16 bits per value; None: decode_image
            finds the number.
        fit: the model input into which the image will be fitted; None: all pixels are needed.

    Raises:
        DatasetError: the file cannot be read, or is not an image.
    """
    try:
        return decode_image(read_bytes(path), bits=bits, fit=fit)
    except ImageFileError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_rgb(path: Path, bits: int | None = None) -> NDArray[np.uint8]:
    """Return the upright image in a file as (H, W, 3) RGB; log which parts of the file are ignored.

    The arguments and errors are the same as those of read_image.
    """
    image = read_image(path, bits)
    for note in image.notes:
        log.warning(f"{path}: {note.sentence}")
    return image.pixels


class ImageReader:
    """Reads images, and counts those whose files have ignored parts, such as an alpha channel.

    For each kind of ignored part, the first file with such a part is also logged.
    """

    def __init__(self, remarks: Counter[str], bits: int | None = None) -> None:
        """Create a reader that adds its counts to `remarks` and passes `bits` to read_image."""
        self.bits = bits  # see read_image
        self._remarks = remarks
        self._counted: set[tuple[Path, str]] = set()

    def read(self, path: Path, fit: Fit | None = None) -> Decoded:
        """Read an image with read_image, and count the ignored parts of its file."""
        image = read_image(path, self.bits, fit)
        for note in image.notes:
            if (path, note.kind) not in self._counted:
                self._counted.add((path, note.kind))
                remark = PARTS_NOT_READ[note.kind]
                self._remarks[remark] += 1
                if self._remarks[remark] == 1:
                    log.warning(f"{path}: {note.sentence}; other files like it are counted, not named")
        return image


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an image file, or of the image that a LabelMe file holds.

    Raises:
        DatasetError: the file cannot be read, or is a json file that holds no image.
    """
    try:
        if path.suffix.lower() == ".json":
            data = json.loads(path.read_bytes())["imageData"]
            return b64decode(data.rpartition(",")[2], validate=True)  # before a comma: data:image/png;base64
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: its imageData is not base64; put the image beside it") from error


def is_image(path: Path) -> bool:
    """Return whether a path has the suffix of an image file, in upper or lower case, and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def passed_over(files: Iterable[Path]) -> Counter[str]:
    """Return how many files are images in unsupported formats, as one remark for each format."""
    suffixes = Counter(path.suffix.lower() for path in files if not path.name.startswith("."))
    return Counter(
        {
            f"images in a format that is not read ({suffix}), left out": count
            for suffix, count in suffixes.items()
            if suffix in UNREAD_SUFFIXES
        }
    )


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Return the image files directly in a folder, sorted; the keys are the file names without suffix.

    Raises:
        DatasetError: two names differ only in their suffix, so a label file would fit both images.
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
    """Return the image files directly in a folder, by name as written and by name in lower case."""
    files = list(filter(is_image, folder.iterdir()))
    return {path.name.lower(): path for path in files} | {path.name: path for path in files}
