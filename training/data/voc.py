"""Reads Pascal VOC labels: one xml file per image."""

from pathlib import Path
from xml.etree import ElementTree

from training.data.image_file import images_by_stem
from training.data.label_file import Box, files_by_stem, finite_numbers, pair_up, parsed_lines
from training.data.labelled_files import LabelledFiles
from training.data.labels import LabelRows
from training.data.remarks import DIFFICULT
from training.errors import DatasetError, NoSuchSplit

_Object = tuple[str, Box, bool]  # class name, box as stated, whether it is marked difficult


def read_voc(root: Path, split: str, class_names: tuple[str, ...] = ()) -> LabelledFiles:
    """Return one split of a VOC folder.

    Two layouts are known: `Annotations/`, `JPEGImages/` and `ImageSets/Main/<split>.txt`, or a folder
    `<split>/` with xml files beside the images. Box coordinates are taken as written, without an offset. An
    object marked difficult becomes a region to ignore for its class, as in VOC's own evaluation.

    Args:
        class_names: the classes, in the order of their ids; empty: all names in the xml files of all splits,
            sorted, so that all splits have the same classes.

    Raises:
        DatasetError: the split or a folder does not exist, the split is empty, an xml file is malformed or
            names a class that is not in class_names, or no image has its xml file.
    """
    rows = LabelRows()
    stems, images, xmls = _split_files(root, split)
    pairs = pair_up(f"{root}, split {split!r}", stems, images, xmls, rows.remarks)
    names = class_names or _collect_names(root)
    sizes = []
    for image, (_, xml) in enumerate(pairs):
        objects, stated_hw = _read_labels(xml)
        sizes.append(stated_hw)
        for name, box, difficult in objects:
            if name not in names:
                raise DatasetError(f"{xml}: class {name!r} is not one of {list(names)}")
            rows.add(image, box, names.index(name), ignored=DIFFICULT if difficult else None)
    return LabelledFiles(names, [image for image, _ in pairs], rows, stated_hw=sizes)


def is_voc(root: Path, split: str) -> bool:
    """Return whether a folder has VOC's lists of splits, or xml files anywhere below it."""
    return any(root.glob("ImageSets/Main")) or any(root.glob("**/*.xml"))


def _split_files(root: Path, split: str) -> tuple[list[str], dict[str, Path], dict[str, Path]]:
    """Return the stems of a split, in the order of its list, and all images and xml files by stem."""
    if not (root / "ImageSets" / "Main").is_dir():
        return _files_beside_each_other(root, split)
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob("*.txt"))
        raise NoSuchSplit(f"{listing}: no such split; this data set has {known}")
    # Some lists have a second column that marks one class; the first column is the name.
    stems = list(parsed_lines(listing, lambda line: line.split()[0]))
    if not stems:
        raise DatasetError(f"{listing}: the split is empty; choose another or fill the list")
    for folder in (root / "JPEGImages", root / "Annotations"):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; put the files of the split there")
    return stems, images_by_stem(root / "JPEGImages"), files_by_stem(root / "Annotations", ".xml")


def _files_beside_each_other(root: Path, split: str) -> tuple[list[str], dict[str, Path], dict[str, Path]]:
    folder = root / split
    xmls = files_by_stem(folder, ".xml") if folder.is_dir() else {}
    if not xmls:
        known = sorted({str(path.parent.relative_to(root)) for path in root.rglob("*.xml")})
        raise NoSuchSplit(f"{folder}: no such split with xml files; this data set has {known}")
    images = images_by_stem(folder)
    return [*xmls, *(stem for stem in images if stem not in xmls)], images, xmls


def _collect_names(root: Path) -> tuple[str, ...]:
    beside = not (root / "Annotations").is_dir()
    xmls = root.rglob("*.xml") if beside else (root / "Annotations").glob("*.xml")
    names = {name for xml in sorted(xmls) for name, _, _ in _read_labels(xml)[0]}
    if not names:
        raise DatasetError(f"{root}: no xml file names an object, so there is no class to learn")
    return tuple(sorted(names))


def _read_labels(xml: Path) -> tuple[list[_Object], tuple[float, float] | None]:
    """Return the objects in an xml file, and the (height, width) that it states for its image, or None."""
    try:
        root = ElementTree.parse(xml).getroot()
        return [_object(each) for each in root.findall("object")], _stated_hw(root)
    except OSError as error:
        raise DatasetError(f"{xml}: cannot be read ({error.strerror}); each image needs its xml") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(
            f"{xml}: malformed ({error}); correct the file or take it out of the split"
        ) from error


def _stated_hw(root: ElementTree.Element) -> tuple[float, float] | None:
    try:
        return float(root.findtext("size/height") or ""), float(root.findtext("size/width") or "")
    except ValueError:
        return None  # no error, since only boxes on images with an EXIF rotation depend on the size


def _object(each: ElementTree.Element) -> _Object:
    sides = [_text(each, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = finite_numbers(sides)
    difficult = (each.findtext("difficult") or "").strip() in ("1", "true")
    return _text(each, "name"), (x1, y1, x2, y2), difficult


def _text(each: ElementTree.Element, path: str) -> str:
    text = (each.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"an object has no {path}")
    return text
