"""Reads Pascal VOC labels: one xml file per image."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree

from training.data.images.image_file import is_image, passed_over
from training.data.labels.collected_names import CollectedNames
from training.data.labels.files_below import files_below
from training.data.labels.label_file import Box, finite_numbers, parsed_lines
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.left_out import LeftOut
from training.data.labels.orientation import checked_hw
from training.data.labels.remarks import DIFFICULT, NO_IMAGE, NO_LABELS, SWAPPED, describe_remarks
from training.data.labels.rows import LabelRows
from training.data.split_choice import entry_of, folder_of_split
from training.errors import DatasetError, NoSuchSplit

# Folders that separate labels from images. Below them, an image and its xml file have the same path.
PARTING = frozenset({"annotations", "annotation", "labels", "xmls", "xml", "jpegimages", "images", "data"})

Way = tuple[str, ...]  # the path of an image or xml file, without PARTING folders and without suffix
_Files = dict[Way, list[Path]]
_Object = tuple[str, Box, bool]  # class name, box as stated, whether it is marked difficult


class _Labels(NamedTuple):
    """The contents of an xml file: the name and size of its image, and the objects in the image."""

    file_name: str
    stated_hw: tuple[float, float] | None
    objects: list[_Object]


def read_voc(root: Path, split: str, class_names: tuple[str, ...] = ()) -> LabelledFiles:
    """Return one split of a VOC folder.

    `ImageSets/Main/<split>.txt` lists the images of the split, or the folder `<split>` holds them. If there
    are no lists, and no folder has the name of a split, all images belong to `train`. An xml file is beside
    its image, or both have the same path in two folders such as `Annotations` and `JPEGImages`.

    Box coordinates are used as written, without an offset. An object marked difficult becomes a region to
    ignore for its class, as in VOC's own evaluation. Files and objects that cannot be used are left out and
    counted.

    Args:
        class_names: the classes, in the order of their ids; empty: all names in the xml files of all splits,
            sorted, so that all splits have the same classes.

    Raises:
        DatasetError: the split does not exist or is empty, no image has its xml file, no xml file can be
            used, or an xml file names a class that is not in class_names.
    """
    if root.is_file():
        raise DatasetError(f"{root}: the labels of one image; give the folder that holds all of them")
    rows, left_out = LabelRows(), LeftOut()
    images, xmls, others = _by_way(root)
    ways = _ways_of_split(root, split, images, xmls)
    rows.remarks.update(passed_over(path for way in ways for path in others.get(way, ())))
    read = {xml: _read(xml, left_out) for way in (ways if class_names else xmls) for xml in xmls.get(way, ())}
    used = [name for labels in read.values() if labels for name, _, _ in labels.objects]
    if not used and not class_names:
        left_out.remark(root, rows.remarks, kept=0)
        raise DatasetError(f"{root}: no xml file names an object, so there is no class to learn")
    classes = CollectedNames(used, class_names, rows.remarks)
    files: dict[Path, _Labels] = {}
    for image, xml in _pairs(ways, images, xmls, read, rows.remarks):
        labels = read[xml]
        if labels is None:
            continue
        if image in files:
            left_out.add("a second xml file of one image", str(xml))
            continue
        boxes = [box for _, box, _ in labels.objects]
        files[image] = labels = labels._replace(stated_hw=checked_hw(image, labels.stated_hw, boxes))
        for name, box, difficult in labels.objects:
            class_id = classes.id_of(name)
            if class_id is None:
                raise DatasetError(f"{xml}: class {name!r} is not one of {list(classes.names)}")
            ignored, ordered = DIFFICULT if difficult else None, _in_order(box, rows.remarks)
            rows.add(len(files) - 1, ordered, class_id, ignored=ignored, image_hw=labels.stated_hw)
    where = f"{root}, split {split!r}"
    left_out.remark(where, rows.remarks, kept=len(files))
    if not files:
        missing = describe_remarks(rows.remarks)
        raise DatasetError(
            f"{where}: of {len(ways)} images none has both its file and its label file ({missing})"
        )
    stated_hw = [labels.stated_hw for labels in files.values()]
    return LabelledFiles(classes.names, list(files), rows, stated_hw=stated_hw)


def is_voc(root: Path, split: str) -> bool:
    """Return whether `root` is an xml file, or a folder that contains VOC's lists or xml labels."""
    if root.is_file():
        return root.suffix.lower() == ".xml"
    return any(root.glob("ImageSets/Main")) or any(map(_is_labels, filter(_is_xml, files_below(root))))


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _is_labels(xml: Path) -> bool:
    try:
        with xml.open("rb") as file:
            return b"<annotation" in file.read(4096).replace(b"\0", b"")  # without zeros: UTF-16
    except OSError:
        return False


def _by_way(root: Path) -> tuple[_Files, _Files, _Files]:
    """Return the images, the xml files and the other files; the keys pair images with their labels.

    The key is the path without suffix and without folders that only separate images from labels:
    `JPEGImages/a.jpg` and `Annotations/a.xml` both have the key `a`. Hidden files are skipped.
    """
    images: _Files = {}
    xmls: _Files = {}
    others: _Files = {}
    for path in sorted(files_below(root)):
        kind = images if is_image(path) else xmls if _is_xml(path) else others
        folders = [part for part in path.relative_to(root).parent.parts if part.lower() not in PARTING]
        kind.setdefault((*folders, path.stem), []).append(path)
    _follow_images(images, xmls)
    return images, xmls, others


def _follow_images(images: _Files, xmls: _Files) -> None:
    """Pair each xml file outside the split folders with the image of the same name inside a split folder.

    Suffixes are ignored. If several images have the same name, none of them is paired.
    """
    stems = Counter(way[-1] for way in images)
    alone = {way[-1]: way for way in xmls if way not in images and not folder_of_split(way[:-1], "")}
    for way in images:
        if stems[way[-1]] == 1 and way not in xmls and way[-1] in alone and folder_of_split(way[:-1], ""):
            xmls[way] = xmls.pop(alone[way[-1]])


def _ways_of_split(root: Path, split: str, images: _Files, xmls: _Files) -> list[Way]:
    """Return the images in the list of a split or, if there are no lists, in the folder of the split."""
    lists = root / "ImageSets" / "Main"
    if not lists.is_dir():
        for deeper in root.glob("**/ImageSets/Main"):
            raise DatasetError(f"{root}: the lists of images are deeper; give the folder {deeper.parents[1]}")
        by_folder: dict[str, list[Way]] = {}
        for way in dict.fromkeys((*xmls, *images)):
            by_folder.setdefault(folder_of_split(way[:-1], split), []).append(way)
        ways = entry_of(split, by_folder)
        if ways is None or not any(way in xmls for way in ways):
            known = sorted({str(xml.parent.relative_to(root)) for way in xmls for xml in xmls[way]})
            raise NoSuchSplit(
                f"{root / split}: no such split with xml files; this data set has {known or 'none'}"
            )
        return ways
    there = {path.stem: path for path in lists.glob("*.txt")}
    listing = entry_of(split, there)
    if listing is None:
        raise NoSuchSplit(f"{lists / split}.txt: no such split; this data set has {sorted(there)}")
    ways = [_listed(line.strip(), xmls) for line in parsed_lines(listing, str)]
    if not ways:
        raise DatasetError(f"{listing}: the split is empty; choose another or fill the list")
    return ways


def _listed(line: str, xmls: _Files) -> Way:
    """Return the image that a line of a list names.

    In a list for a single class, the name is followed by -1, 0 or 1; this number is dropped.
    """
    named = [line, re.sub(r"\s+-?[01]$", "", line)]
    named += [each.removesuffix(PurePosixPath(each).suffix) for each in named]
    ways = [tuple(PurePosixPath(each.strip('"')).parts) for each in named]
    return next((way for way in ways if way in xmls), ways[1])


def _pairs(
    ways: Sequence[Way],
    images: _Files,
    xmls: _Files,
    read: Mapping[Path, _Labels | None],
    remarks: Counter[str],
) -> Iterator[tuple[Path, Path]]:
    """Yield each image of a split with its xml file; count images and xml files that have no partner."""
    by_stem: dict[str, list[Way]] = {}
    for way in images:
        by_stem.setdefault(way[-1], []).append(way)
    taken = set()
    for way in sorted(ways, key=lambda way: way not in images):  # a copy of an xml file comes after it
        for xml in xmls.get(way, ()):
            labels = read[xml]
            name = PurePosixPath(labels.file_name.replace("\\", "/")) if labels else PurePosixPath()
            folders, stems = (
                way[:-1],
                dict.fromkeys((way[-1], unquote(way[-1]), name.stem, unquote(name.stem))),
            )
            beside = [(*folders, stem) for stem in stems]
            same = [other for stem in stems for other in by_stem.get(stem, ())]
            anywhere = [other for other in same if not folder_of_split(other[:-1], "")]
            fitting = [other for other in beside if other in images] or anywhere
            if not fitting:
                remarks[NO_IMAGE] += 1
                continue
            taken.add(fitting[0])
            yield _one_of(images[fitting[0]], name.name), xml
    for way in ways:
        if way not in xmls and way not in taken:
            remarks[NO_LABELS if way in images else NO_IMAGE] += 1


def _one_of(images: list[Path], name: str) -> Path:
    """Return the image called `name`; if `images` holds a single image, return this image under any name.

    Raises:
        DatasetError: there are several images, and none or more than one of them is called `name`.
    """
    named = [image for image in images if image.name == name]
    if len(images) > 1 and len(named) != 1:
        raise DatasetError(
            f"{images[0]} and {images[1].name} have the same labels, which go by the name without suffix; "
            "rename one with its labels, or take it out"
        )
    return named[0] if named else images[0]


def _read(xml: Path, left_out: LeftOut) -> _Labels | None:
    """Return the contents of an xml file; None if the file cannot be used.

    `left_out` counts the files and the objects that cannot be used.

    Raises:
        DatasetError: the file is in CVAT's own format, which is not supported.
    """
    try:
        root = ElementTree.parse(xml).getroot()
    except OSError as error:
        left_out.add(f"cannot be read ({error.strerror})", str(xml))
        return None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        left_out.add("an xml file is malformed, its image left out", f"{xml} ({error})")
        return None
    if root.tag == "annotations":
        raise DatasetError(f"{xml}: CVAT's own format; export COCO, YOLO or Pascal VOC there")
    if root.tag != "annotation":
        left_out.add("an xml file that has no annotation", str(xml))
        return None
    objects = []
    for number, each in enumerate(root.findall("object"), start=1):
        if (each.findtext("deleted") or "").strip() == "1":
            continue  # deleted in the online LabelMe, which keeps it in the file
        try:
            objects.append(_object(each))
        except ValueError as error:
            left_out.add(str(error), f"{xml}: object {number}")
    return _Labels((root.findtext("filename") or "").strip(), _stated_hw(root), objects)


def _stated_hw(root: ElementTree.Element) -> tuple[float, float] | None:
    size = [root.findtext(way) or "0" for way in ("size/height", "size/width")]
    try:
        height, width = finite_numbers(size)
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _in_order(box: Box, remarks: Counter[str]) -> Box:
    x1, y1, x2, y2 = box
    if x1 <= x2 and y1 <= y2:
        return box
    remarks[SWAPPED] += 1
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _object(each: ElementTree.Element) -> _Object:
    """Return the object in an xml element; raise ValueError if it has no name or no box of finite numbers."""
    name = (each.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    box = each.find("bndbox") if each.find("bndbox") is not None else each.find("segm/box")
    polygon = each.find("polygon")
    if box is not None:
        sides = [box.findtext(side) or "" for side in ("xmin", "ymin", "xmax", "ymax")]
    elif polygon is not None:  # <pt><x>, or <x1>
        points = [
            (point.tag[0], point.text or "")
            for point in polygon.iter()
            if re.fullmatch(r"[xy]\d*", point.tag)
        ]
        try:
            x, y = (finite_numbers([text for axis, text in points if axis == wanted]) for wanted in "xy")
            sides = [str(function(values)) for function in (min, max) for values in (x, y)]
        except ValueError as error:
            raise ValueError("an object has no bndbox, and a polygon without finite numbers") from error
    else:
        raise ValueError("an object has no bndbox")
    try:
        x1, y1, x2, y2 = finite_numbers(sides)
    except ValueError as error:
        raise ValueError("bndbox is not four finite numbers") from error
    difficult = (each.findtext("difficult") or "").strip().lower() in ("1", "true")
    return name, (x1, y1, x2, y2), difficult
