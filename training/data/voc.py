"""Reads Pascal VOC labels: one xml file per image."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from training.data.image_file import images_by_stem, read_bytes, read_rgb
from training.data.mosaic import clip_boxes
from training.data.sample import Sample
from training.errors import DatasetError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labels:
    names: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]  # xyxy, as written


class VocDataset:
    """One split of a VOC folder. Labels are read and checked when it is made, images when loaded.

    Two layouts: `Annotations/`, `JPEGImages/` and `ImageSets/Main/<split>.txt`, or a folder `<split>/`
    with the xml files beside the images. Boxes stand as written; objects marked difficult are kept.

    Attributes:
        class_names: as given, or every name in any xml file of the root, sorted, so that splits agree.
        dropped_boxes: boxes of this split left out because they have no area.
    """

    def __init__(self, root: Path, split: str, class_names: Sequence[str] = ()) -> None:
        """Raises DatasetError: a file is missing or malformed, or names an unknown class."""
        pairs = _split_files(root, split)
        self.class_names = tuple(class_names) or _collect_names(root)
        self.dropped_boxes = 0
        self._items = [self._item(image, xml) for image, xml in pairs]

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample:
        """Boxes are clipped to the decoded image, whatever size the xml states."""
        image_path, boxes, class_ids = self._items[index]
        image = read_rgb(image_path)
        clipped = clip_boxes(boxes, (0, 0, image.shape[1], image.shape[0]))
        inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        if not inside.all():
            log.warning("boxes_outside_image", extra={"file": str(image_path), "boxes": int((~inside).sum())})
        return Sample(image, clipped[inside], class_ids[inside], image_path.stem)

    def encoded(self, index: int) -> bytes:
        """The image file as it is. Raises DatasetError: it cannot be read."""
        return read_bytes(self._items[index][0])

    def _item(self, image: Path, xml: Path) -> tuple[Path, np.ndarray, np.ndarray]:
        labels = _read_labels(xml)
        for name in labels.names:
            if name not in self.class_names:
                raise DatasetError(f"{xml}: class {name!r} is not one of {list(self.class_names)}")
        boxes = np.array(labels.boxes, dtype=np.float32).reshape(-1, 4)
        class_ids = np.array([self.class_names.index(name) for name in labels.names], dtype=np.int64)
        solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        self.dropped_boxes += int((~solid).sum())
        return image, boxes[solid], class_ids[solid]


def _split_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    """The (image, xml) files of a split, in the order of its list, or sorted by name."""
    if not (root / "ImageSets" / "Main").is_dir():
        return _files_beside_each_other(root, split)
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob("*.txt"))
        raise DatasetError(f"{listing}: no such split; this data set has {known}")
    # Some lists carry a second column that marks one class; the name is the first.
    stems = [line.split()[0] for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not stems:
        raise DatasetError(f"{listing}: the split is empty; choose another or fill the list")
    if not (root / "JPEGImages").is_dir():
        raise DatasetError(f"{root / 'JPEGImages'}: no such folder; put the images there")
    images = images_by_stem(root / "JPEGImages")
    for stem in stems:
        if stem not in images:
            raise DatasetError(f"{root / 'JPEGImages' / stem}: no image, but {listing} names it")
    return [(images[stem], root / "Annotations" / f"{stem}.xml") for stem in stems]


def _files_beside_each_other(root: Path, split: str) -> list[tuple[Path, Path]]:
    folder = root / split
    xmls = sorted(folder.glob("*.xml"))
    if not xmls:
        known = sorted({str(path.parent.relative_to(root)) for path in root.rglob("*.xml")})
        raise DatasetError(f"{folder}: no such split with xml files; this data set has {known}")
    images = images_by_stem(folder)
    for xml in xmls:
        if xml.stem not in images:
            raise DatasetError(f"{xml}: no image of that name beside it; add it or remove the xml file")
    return [(images[xml.stem], xml) for xml in xmls]


def _collect_names(root: Path) -> tuple[str, ...]:
    names = {name for xml in sorted(root.rglob("*.xml")) for name in _read_labels(xml).names}
    if not names:
        raise DatasetError(f"{root}: no xml file names an object, so there is no class to learn")
    return tuple(sorted(names))


def _read_labels(xml: Path) -> _Labels:
    try:
        objects = ElementTree.parse(xml).getroot().findall("object")
        names = tuple(_text(each, "name") for each in objects)
        boxes = tuple(_box(each) for each in objects)
    except OSError as error:
        raise DatasetError(f"{xml}: cannot be read ({error.strerror}); each image needs its xml") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(
            f"{xml}: malformed ({error}); correct the file or take it out of the split"
        ) from error
    return _Labels(names, boxes)


def _box(each: ElementTree.Element) -> tuple[float, float, float, float]:
    sides = [float(_text(each, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    if not np.isfinite(sides).all():
        raise ValueError(f"a box side is not a finite number: {sides}")
    return sides[0], sides[1], sides[2], sides[3]


def _text(each: ElementTree.Element, path: str) -> str:
    text = (each.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"an object has no {path}")
    return text
