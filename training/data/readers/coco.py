"""Reads COCO labels: one json file per split.

Source: the data format at https://cocodataset.org/#format-data.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from math import isfinite, nan
from pathlib import Path, PurePosixPath
from typing import Any

from training.data.images.image_file import UNREAD_SUFFIXES, passed_over
from training.data.labels.label_file import Box
from training.data.labels.labelled_files import LabelledFiles
from training.data.labels.left_out import LeftOut
from training.data.labels.object_shapes import outline_points, packed_numbers
from training.data.labels.orientation import Size, checked_hw
from training.data.labels.oriented import smallest_rectangle
from training.data.labels.remarks import (
    CROWDS,
    EQUAL_NAMES,
    GROUPS,
    LISTED_TWICE,
    NO_IMAGE,
    REGIONS,
    REPEATED,
    UNLISTED,
    describe_remarks,
)
from training.data.labels.rows import LabelRows
from training.data.readers.coco_files import (
    COCO_KEYS,
    file_of_split,
    image_folders,
    label_files,
    refuse_other_json,
)
from training.data.readers.coco_images import ImageFinder
from training.data.readers.coco_keypoints import packed_keypoints, skeleton_of
from training.data.readers.coco_outline import box_of_outline, packed_outline
from training.data_config import LabelKind
from training.errors import DatasetError
from training.skeleton import Skeleton

KEYPOINT_BYTES = 24  # x, y, visibility as doubles
IGNORED = (None, CROWDS, REGIONS)  # why a box is ignored; the arrays hold an index into this


def read_coco(root: Path, split: str, *, labels: LabelKind = "boxes") -> LabelledFiles:
    """Return one split of a COCO data set: a json file, or a folder with one json file for each split.

    Ids of images and categories can be numbers or texts. Images are ordered by ascending id, as in the COCO
    API. Class ids are 0, 1, … in ascending order of category ids. An annotation without a bbox gets the box
    around its outline. Crowds (`iscrowd`) and boxes marked `ignore` become ignored regions of their class.
    The area of an object is the area that the file states for its annotation. Outlines and keypoints are
    kept only if `labels` asks for them. An oriented box is the smallest rectangle around the outline. Entries
    that cannot be used are left out; the remarks count these entries and name the first.

    Raises:
        DatasetError: the label file is missing, truncated or of another format, none of its images exists,
            two images share an id or a file, or no annotation can be used. It is also raised if `labels`
            asks for keypoints and there are none, or objects have different numbers of keypoints.
    """
    path = file_of_split(root, split)
    parsed = _Parsed(path, labels)
    rows = LabelRows(labels)
    names = _categories(parsed, label_files(root) if root.is_dir() else {}, rows.remarks)
    class_names = tuple(dict.fromkeys(names.values()))
    class_ids = {category: class_names.index(name) for category, name in names.items()}
    listed = _Listed(parsed, ImageFinder(image_folders(root, path, split)), rows.remarks)
    seen = set()
    for image, category, ignored, area, box_xyxy, shape in parsed.annotations():
        if category not in class_ids:
            parsed.left_out.add("category_id is not listed", category)
        elif image not in listed.sizes:
            rows.remarks[UNLISTED] += 1
        elif image in listed.places:
            place, class_id = listed.places[image], class_ids[category]
            mark = array("d", (place, class_id, ignored, *box_xyxy)).tobytes() + shape
            if mark in seen:
                rows.remarks[REPEATED] += 1
                continue
            seen.add(mark)
            image_hw = listed.checked_hw(place, box_xyxy)
            why = IGNORED[ignored]
            rows.add(place, box_xyxy, class_id, ignored=why, area=area, image_hw=image_hw, shape=shape)
    parsed.left_out.remark(path, rows.remarks, kept=len(seen) or not parsed.document["annotations"])
    skeleton = parsed.skeleton() if labels == "keypoints" else None
    return LabelledFiles(class_names, listed.files, rows, stated_hw=listed.stated_hw, skeleton=skeleton)


class _Parsed:
    """A parsed COCO file, with its annotations in flat arrays, and without outlines that nobody asked for.

    For the COCO data set, outlines would take gigabytes of memory. One dictionary for each box would take
    half a gigabyte.
    """

    def __init__(self, path: Path, labels: LabelKind = "boxes") -> None:
        self.path = path
        self._labels = labels
        self._shapes = bytearray()  # of each annotation, packed; empty if only boxes are asked for
        self._ends = array("q")  # of each annotation in _shapes
        self._counts: set[int] = set()  # numbers of keypoints of annotations
        self._keys: dict[str, int] = {}  # the number that stands for an id in the arrays
        self._ids = array("q")  # image, category, position in IGNORED
        self._numbers = array("d")  # area, x1, y1, x2, y2
        self.left_out = LeftOut()
        try:
            document = json.loads(_text_of(path), object_hook=self._take)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not in UTF-8 ({error}); save it in UTF-8") from error
        except (ValueError, RecursionError) as error:  # ValueError: also a number of over 4300 digits
            raise DatasetError(f"{path}: not whole JSON ({error}); fetch it again") from error
        if not isinstance(document, dict) or not set(COCO_KEYS) <= document.keys() or not self._ids:
            refuse_other_json(path)
        if not isinstance(document, dict):
            raise DatasetError(f"{path}: must hold images, annotations and categories")
        for key in COCO_KEYS:
            if not isinstance(document.get(key), list):
                raise DatasetError(f"{path}: has no list of {key}; give a COCO file with boxes")
        for left in document["annotations"]:
            if left is not None:
                self.left_out.add("needs an image_id, a category_id and a bbox or an outline", _shown(left))
        self.document: dict[str, Any] = document

    def annotations(self) -> Iterator[tuple[str, str, int, float, Box, bytes]]:
        """Yield each annotation's image id, category id, reason to ignore it, area, box and packed shape.

        The reason is an index into IGNORED. The area is NaN if the file states none.
        """
        keys = list(self._keys)
        start = 0
        for place in range(len(self._ids) // 3):
            image, category, ignored = self._ids[3 * place : 3 * place + 3]
            area, x1, y1, x2, y2 = self._numbers[5 * place : 5 * place + 5]
            end = self._ends[place]
            shape = bytes(self._shapes[start:end])
            start = end
            yield keys[image], keys[category], ignored, area, (x1, y1, x2, y2), shape

    def skeleton(self) -> Skeleton:
        """Return what the keypoints of the objects are; raise the DatasetErrors of skeleton_of."""
        return skeleton_of(self.path, self.document["categories"], self._counts)

    def categories_used(self) -> set[str]:
        """Return the ids of the categories that have boxes."""
        keys = list(self._keys)
        return {keys[number] for number in set(self._ids[1::3])}

    def _take(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """Store a JSON object in the arrays if it is an annotation; otherwise return it unchanged."""
        if "image_id" not in entry or "category_id" not in entry:
            return entry
        try:
            image, category = id_of(entry["image_id"]), id_of(entry["category_id"])
            box = _box_of(entry)
            shape = _shape_of(entry, self._labels)
        except (TypeError, ValueError) as error:
            self.left_out.add(str(error), _shown(entry))
            return None
        ignored = 1 if _is_set(entry.get("iscrowd")) else 2 if _is_set(entry.get("ignore")) else 0
        self._ids.extend(self._keys.setdefault(key, len(self._keys)) for key in (image, category))
        self._ids.append(ignored)
        self._numbers.extend((_area_of(entry), *box))
        self._shapes += shape
        self._ends.append(len(self._shapes))
        if self._labels == "keypoints" and shape:
            self._counts.add(len(shape) // KEYPOINT_BYTES)
        return None


class _Listed:
    """The images of a COCO file: existing files, the sizes stated for them, and the position of each id."""

    def __init__(self, parsed: _Parsed, finder: ImageFinder, remarks: Counter[str]) -> None:
        """Find the image files.

        Raise DatasetError if no file exists, if one id has two file names, or if two file names mean the
        same file.
        """
        path = parsed.path
        names: dict[str, str] = {}
        self.sizes: dict[str, Size] = {}
        for entry in parsed.document["images"]:
            try:
                image, name = id_of(entry["id"]), str(entry.get("file_name") or entry["coco_url"])
            except (TypeError, ValueError, KeyError, AttributeError):
                parsed.left_out.add("an image needs an id and a file_name", _shown(entry))
                continue
            if names.setdefault(image, name) != name:
                raise DatasetError(
                    f"{path}: two images have id {image}: {names[image]} and {name}; give each its own"
                )
            remarks[LISTED_TWICE] += image in self.sizes
            self.sizes[image] = _size_of(entry)
        if not names:
            raise DatasetError(f"{path}: lists no image; each needs an id and a file_name")
        there = {
            image: file for image in _ascending(names) if (file := finder.find(names[image])) is not None
        }
        remarks[NO_IMAGE] += len(names) - len(there)
        unread = passed_over(there.values())
        remarks.update(unread)
        found = {image: file for image, file in there.items() if file.suffix.lower() not in UNREAD_SUFFIXES}
        if not found:
            looked = ", ".join(str(folder) for folder in finder.folders)
            first = next(iter(names.values()))
            raise DatasetError(
                f"{finder.folders[0]}: none of the {len(names)} images that {path.name} lists is there; "
                f"looked for {_shown(first)!r} in {looked}; put them there; "
                f"{describe_remarks(unread) or 'all are missing'}"
            )
        by_file: dict[Path, list[str]] = {}
        for image, file in found.items():
            by_file.setdefault(file, []).append(image)
        self.places: dict[str, int] = {}
        self.stated_hw: list[Size] = []
        for place, (file, images) in enumerate(by_file.items()):
            # A file that one entry names exactly is not the lost file of another folder with the same name.
            exact = [image for image in images if _ends_with(file, names[image])] or images
            if exact is images and len({names[image] for image in images}) > 1:
                first, second = images[:2]
                raise DatasetError(
                    f"{path}: images {first} and {second} are both {file}, the latter by its file_name "
                    f"{names[second]!r}; put images where their file names say, and list each once"
                )
            remarks[NO_IMAGE] += len(images) - len(exact)
            remarks[LISTED_TWICE] += len(exact) - 1
            self.places.update(dict.fromkeys(exact, place))
            self.stated_hw.append(self.sizes[exact[0]])
        self.files = list(by_file)
        self._checked: set[int] = set()  # images whose true size was compared with the stated one

    def checked_hw(self, place: int, box: Box) -> Size:
        """Return the size that the file states for an image, corrected if a box shows that it is wrong."""
        before = self.stated_hw[place]
        if place not in self._checked and before and (box[0] >= before[1] or box[1] >= before[0]):
            self._checked.add(place)
            self.stated_hw[place] = checked_hw(self.files[place], before, [box])
        return self.stated_hw[place]


def _ends_with(file: Path, name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return file.parts[-len(parts) :] == parts


def id_of(value: object) -> str:
    """Return the id of an image or category as text, so that 1, 1.0 and "1" are the same id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | float | str):
        raise ValueError("an id is neither a number nor a text")
    return str(value).strip()


def _categories(parsed: _Parsed, others: dict[str, Path], remarks: Counter[str]) -> dict[str, str]:
    """Return the category names by category id, sorted by id if all ids are numbers.

    In Roboflow's files, category 0 is a group of all other categories. In labelme2coco's files, the
    background is also a category. Such a category is left out if it has no boxes in any split.
    """
    names: dict[str, str] = {}
    for entry in parsed.document["categories"]:
        try:
            category, name = id_of(entry["id"]), str(entry["name"] or "").strip()
        except (TypeError, ValueError, KeyError) as error:
            raise DatasetError(f"{parsed.path}: category {entry}: needs an id and a name") from error
        if not name:
            raise DatasetError(f"{parsed.path}: category {entry}: needs a name")
        if names.setdefault(category, name) != name:
            raise DatasetError(
                f"{parsed.path}: two categories have id {category}: {names[category]} and {name}"
            )
    if not names:
        raise DatasetError(f"{parsed.path}: lists no category, so there is no class to learn")
    above = [(id_of(each["id"]), each.get("supercategory")) for each in parsed.document["categories"]]
    groups = {
        category
        for category, name in names.items()
        if name.strip("_").lower() == "background"
        or any(group == name for other, group in above if other != category)
    }
    unused = groups - parsed.categories_used()
    for path in others.values() if unused else ():
        unused -= set() if path == parsed.path else _Parsed(path).categories_used()
    remarks[GROUPS] += len(unused)
    names = {category: names[category] for category in _ascending(names) if category not in unused}
    remarks[EQUAL_NAMES] += len(names) - len(set(names.values()))
    return names


def _ascending(ids: dict[str, str]) -> list[str]:
    """Return ids in ascending order if all are numbers; otherwise in the order of `ids`."""
    # Python refuses to turn texts of over 4300 digits into numbers.
    numbers = all(each.removeprefix("-").isdecimal() and len(each) <= 4300 for each in ids)
    return sorted(ids, key=int) if numbers else list(ids)


def _box_of(entry: dict[str, Any]) -> Box:
    """Return the box of an annotation: its bbox, or the box around its outline if the bbox has no area."""
    bbox = entry.get("bbox")
    if isinstance(bbox, str):
        bbox = bbox.strip("[]() ").replace(",", " ").split()
    try:
        x, y, width, height = map(float, bbox or ())
        usable = all(map(isfinite, (x, y, width, height))) and min(width, height) >= 0
    except (TypeError, ValueError, OverflowError):
        usable = False
    if usable and min(width, height) > 0:
        return x, y, x + width, y + height
    outline = box_of_outline(entry.get("segmentation"))
    if outline is not None:
        return outline
    if not usable:
        raise ValueError("bbox is not x, y, width, height, and there is no outline")
    return x, y, x + width, y + height


def _shape_of(entry: dict[str, Any], labels: LabelKind) -> bytes:
    """Return the mask, keypoints or corners that `labels` asks for, packed; raise ValueError if malformed."""
    if labels == "boxes":
        return b""
    if labels == "keypoints":
        return packed_keypoints(entry)
    outline = packed_outline(entry.get("segmentation"))
    if labels == "masks" or not outline:
        return outline
    points = outline_points(outline)
    return packed_numbers(smallest_rectangle(points).ravel().tolist()) if len(points) else b""


def _area_of(entry: dict[str, Any]) -> float:
    try:
        area = float(entry["area"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return nan  # NaN: the area of the box is used
    return area if area > 0 and isfinite(area) else nan


def _size_of(entry: dict[str, Any]) -> Size:
    try:
        height, width = float(entry["height"]), float(entry["width"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    # Some exporters write 0, or null, for a size that they do not know.
    return (height, width) if height > 0 and width > 0 else None


def _text_of(path: Path) -> str:
    """Return the text of a json file in UTF-8, UTF-16 or UTF-32."""
    encoded = path.read_bytes()
    return encoded.decode(json.detect_encoding(encoded))


def _is_set(flag: object) -> bool:
    return str(flag).lower() in ("1", "1.0", "true")


def _shown(entry: object) -> str:
    """Return a short text that names an entry of the file in a message."""
    if isinstance(entry, dict):
        short = {key: value for key, value in entry.items() if key != "segmentation"}
        entry = f"id {entry['id']}: {short}" if "id" in entry else short
    text = str(entry)
    return text if len(text) <= 100 else f"{text[:97]}..."
