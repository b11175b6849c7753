"""Shrinks a data set: images to at most 640 px, and their labels to match.

The module handles the three layouts of the recipe `starter`: VOC in folders, VOC labels beside the images,
and YOLO. YOLO labels are fractions of the image size, so they do not change. VOC labels are pixels and are
scaled.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 640  # the size of the training images: training would scale larger images down
SUFFIXES = (".jpg", ".jpeg", ".png")
TEXTS = (".txt", ".yaml")
ACROSS, DOWN = ("xmin", "xmax"), ("ymin", "ymax")


class PackError(Exception):
    """The data cannot be packed; the message gives the reason."""


@dataclass(frozen=True)
class Shrunk:
    """A shrunk image, encoded."""

    encoded: bytes
    suffix: str
    source_hw: tuple[int, int]  # after applying the EXIF orientation
    hw: tuple[int, int]


def images_of(root: Path) -> list[Path]:
    """Return every image of a data set, sorted."""
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)


def shrink(path: Path, quality: int) -> Shrunk:
    """Return an image of at most SIDE pixels per side as WebP of this quality.

    Keep the original file if its image is small enough and WebP would not be smaller.

    Raises:
        PackError: the image cannot be decoded.
    """
    original = path.read_bytes()
    image = decoded(path, original)
    height, width = image.shape[:2]
    scale = min(SIDE / max(height, width), 1.0)
    hw = (round(height * scale), round(width * scale))
    if hw != (height, width):
        image = np.asarray(cv2.resize(image, (hw[1], hw[0]), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # WebP is a third smaller than JPEG of the same quality, with which the images would not fit.
    encoded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    if hw == (height, width) and len(original) <= len(encoded):
        return Shrunk(original, path.suffix, hw, hw)
    return Shrunk(encoded, ".webp", (height, width), hw)


def decoded(path: Path, encoded: bytes) -> NDArray[np.uint8]:
    """Return the image upright, (H, W, 3) BGR; raise PackError if it cannot be decoded."""
    buffer = np.frombuffer(encoded, dtype=np.uint8)
    image = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if buffer.size else None
    if image is None:
        raise PackError(f"{path}: not an image that can be decoded; repair it or take it out")
    return np.asarray(image, dtype=np.uint8)


def shrink_dataset(root: Path, into: Path, quality: int) -> None:
    """Write the shrunk data set, without files that its reader does not use.

    Raises:
        PackError: an image or a label is malformed, or a label gives another size than its image has.
    """
    sizes: dict[str, Shrunk] = {}
    for path in images_of(root):
        shrunk = shrink(path, quality)
        target = (into / path.relative_to(root)).with_suffix(shrunk.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(shrunk.encoded)
        sizes[path.stem] = shrunk
    for path in labels_of(root):
        target = into / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".xml" and path.stem in sizes:
            target.write_bytes(scaled_voc(path, sizes[path.stem]))
        else:
            shutil.copyfile(path, target)


def labels_of(root: Path) -> Iterator[Path]:
    """Yield the label files, and files that the licence requires."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and (path.suffix in (".xml", *TEXTS) or path.name.startswith("LICENSE")):
            yield path


def scaled_voc(path: Path, shrunk: Shrunk) -> bytes:
    """Return a VOC label whose size and boxes are scaled like its image.

    Raises:
        PackError: the label is malformed, or gives another size than the image has.
    """
    try:
        root = ElementTree.parse(path).getroot()
        stated = (int(text_of(root, "size/height")), int(text_of(root, "size/width")))
        if stated != shrunk.source_hw:
            raise PackError(
                f"{path} states {stated[1]} × {stated[0]} pixels, but upright its image has "
                f"{shrunk.source_hw[1]} × {shrunk.source_hw[0]}; its boxes cannot be scaled"
            )
        down, across = (new / old for new, old in zip(shrunk.hw, stated, strict=True))
        for name, value in zip(("height", "width"), shrunk.hw, strict=True):
            element_of(root, f"size/{name}").text = str(value)
        for box in root.iter("bndbox"):
            for sides, scale in ((ACROSS, across), (DOWN, down)):
                for side in sides:
                    element = element_of(box, side)
                    element.text = f"{float(element.text or '') * scale:.10g}"
    except (ElementTree.ParseError, ValueError) as error:
        raise PackError(f"{path}: malformed ({error}); correct it or take it out") from error
    return ElementTree.tostring(root, encoding="utf-8")


def element_of(root: ElementTree.Element, path: str) -> ElementTree.Element:
    """Return the element at a path; raise ValueError if there is none."""
    found = root.find(path)
    if found is None:
        raise ValueError(f"it has no {path}")
    return found


def text_of(root: ElementTree.Element, path: str) -> str:
    """Return the text at a path; raise ValueError if there is none."""
    return (element_of(root, path).text or "").strip()
