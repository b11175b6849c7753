"""Finds the images of one split of a YOLO data set, and the label file of each image."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

from training.data.images.image_file import is_image, passed_over, split_names
from training.data.labels.label_file import files_by_stem, parsed_lines
from training.data.labels.remarks import (
    IN_SUBFOLDERS,
    LISTED_ELSEWHERE,
    LISTED_TWICE,
    NO_IMAGE,
    OTHER_SPLITS,
    SHARED,
)
from training.data.readers.yolo_description import Description, tried, without_dots
from training.errors import DatasetError, NoSuchSplit

IMAGE_FOLDERS = ("images", "jpegimages")  # in lower case; Darknet replaces either by labels

log = logging.getLogger(__name__)


def split_images(described: Description, split: str, remarks: Counter[str]) -> list[Path]:
    """Return the image files of a split, each once, in the order in which the description names them.

    If the description declares the split, the images are read from the declared folders, their subfolders,
    and the declared lists. If the split is not declared, the first of these folders that exists is read:
    `<split>/images`, `images/<split>`, `<split>`. If none of them exists for `train`, and no split at all is
    declared, `images` is read. If there is no `images`, the whole folder is read.

    When a folder is read, folders of other splits and images in their lists are left out.

    Raises:
        NoSuchSplit: a declared folder or list is missing, or the split has no image.
        DatasetError: a list cannot be read.
    """
    sources = _sources(described, split)
    other_splits = {"train", "val", "test", *described.sources} - {*split_names(split)}
    others = _of_others(described, other_splits)
    images: Counter[Path] = Counter()
    known: dict[Path, Path] = {}
    for source in sources:
        if source.is_dir():
            images.update(_below(source, others, known, remarks))
        elif is_image(source):
            images[source] += 1
        else:
            listed = list(_listed(source, described, remarks))
            images.update(listed)
            remarks[SHARED] += len(_real(listed) & others)
    remarks[LISTED_TWICE] += images.total() - len(images)
    if not images:
        where = ", ".join(map(str, sources))
        said = [what for what in remarks if remarks[what]]
        hint = f" ({'; '.join(said)})" if said else ""
        raise NoSuchSplit(f"{where}: the split {split!r} is empty{hint}; put images there")
    return list(images)


def _sources(described: Description, split: str, *, required: bool = True) -> list[Path]:
    """Return the folders of a split and its lists of images, as far as they exist.

    If `required` is true, raise NoSuchSplit if a declared folder or list is missing, or if the split has
    neither folders nor lists.
    """
    home, names = described.home, split_names(split)
    declared = next((described.sources[name] for name in names if name in described.sources), None)
    if declared is None:
        return _usual(described, split, required=required)
    if not declared and required:
        there = [f"{name} ({', '.join(paths)})" for name, paths in described.sources.items() if paths]
        raise NoSuchSplit(f"{home}: no images are named for split {split!r}, only for {', '.join(there)}")
    found = []
    for text in declared:
        # Unlike Path.exists, os.path.exists takes a text that is too long for a file name.
        path = next(filter(os.path.exists, described.places(text)), None) or _in_any_case(text, home)
        if path is None and required:
            places = tried(described.places(text))
            raise NoSuchSplit(f"{described.file}: {split}: {text} does not exist; looked for {places}")
        if path is None:
            continue
        found.append(without_dots(path))
        if required and path != described.bases[0] / text:
            log.info(f"{described.file}: {split}: {text} is read from {found[-1]}")
    return found


def _usual(described: Description, split: str, *, required: bool) -> list[Path]:
    """Return a list with the usual folder, such as `images/train`, of a split that is not declared.

    If the description declares no split at all, `train` can also be in `images` or in `home` itself. If there
    is no folder for the split, the list is empty, or NoSuchSplit is raised if `required` is true.
    """
    home = described.home
    usual = [parts for name in split_names(split) for parts in ((name, "images"), ("images", name), (name,))]
    found = [folder for parts in usual for folder in _called(parts, home)][:1]
    if not found and split == "train" and not described.sources:
        return (_called(["images"], home) or [home])[:1]
    if found or not required:
        return found
    folders = [path for pattern in ("*/images/", "[iI]mages/*/") for path in home.glob(pattern)]
    there = sorted({*described.sources, *(str(path.relative_to(home)) for path in folders)})
    looked = ", ".join("/".join(parts) for parts in usual)
    raise NoSuchSplit(f"{home}: no images for split {split!r}; looked for {looked}; there are {there}")


def _in_any_case(text: str, home: Path) -> Path | None:
    """Return the folder at the path `text` below `home`, whatever the case of letters; None if missing."""
    parts = [part.lower() for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return next(iter(_called(parts, home)), None) if parts else None


def _of_others(described: Description, splits: Set[str]) -> set[Path]:
    """Return the folders of other splits, and the images that the lists of these splits name."""
    found: set[Path] = set()
    for source in (each for split in splits for each in _sources(described, split, required=False)):
        found.add(source.resolve())
        if source.is_file() and not is_image(source):
            with suppress(DatasetError):  # raised when that split is read
                found |= _real(list(_listed(source, described, Counter())))
    return found


def _real(images: Sequence[Path]) -> set[Path]:
    """Return the paths of images; links in the paths of their folders are resolved."""
    folders = {folder: folder.resolve() for folder in {path.parent for path in images}}
    return {folders[path.parent] / path.name for path in images}


def _called(parts: Sequence[str], home: Path) -> list[Path]:
    """Return the folders at the path `parts` below `home`, whatever the case of their letters.

    The items of `parts` must be in lower case. Folders whose own name is in lower case are returned first.
    """
    found = [home]
    for part in parts:
        there = [path for folder in found for path in folder.iterdir() if path.name.lower() == part]
        found = sorted(filter(Path.is_dir, there), key=lambda path: (path.name != part, path))
    return found


def _below(source: Path, others: Set[Path], known: dict[Path, Path], remarks: Counter[str]) -> Iterator[Path]:
    """Yield the images of a folder and its subfolders, sorted.

    Hidden subfolders are skipped. Subfolders and images in `others` are also skipped, because they belong to
    other splits.

    Because of links, one folder can have two paths. Its images are yielded under the path that was found
    first. This function adds that path to `known`; the key is the folder's path with all links resolved.
    """
    entered = {source.resolve()}
    for at, subfolders, names in os.walk(source, onerror=_refuse, followlinks=True):
        folder = Path(at)
        subfolders.sort()
        for name in list(subfolders):
            target = (folder / name).resolve()
            remarks[OTHER_SPLITS] += target in others
            if name.startswith(".") or target in others or target in entered:
                subfolders.remove(name)
            entered.add(target)
        real = folder.resolve()
        files = sorted(known.setdefault(real, folder) / name for name in names)
        images = [path for path in files if is_image(path) and real / path.name not in others]
        there = list(filter(Path.is_file, images))  # a link can lead nowhere
        remarks[LISTED_ELSEWHERE] += sum(map(is_image, files)) - len(images)
        remarks[NO_IMAGE] += len(images) - len(there)
        remarks[IN_SUBFOLDERS] += len(there) * (folder != source)
        remarks.update(passed_over(files))
        yield from there


def _refuse(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _listed(listing: Path, described: Description, remarks: Counter[str]) -> Iterator[Path]:
    """Yield the images that a text file lists, one in each line; raise NoSuchSplit if none of them exists."""
    missing: list[str] = []
    number = 0
    for line in parsed_lines(listing, str.strip):
        path = next(filter(os.path.isfile, described.places(line, (listing.parent,))), None)
        number += 1
        if path is None:
            missing.append(line)
        elif is_image(path):
            yield without_dots(path)
        else:
            remarks[f"listed files that are no images ({path.suffix}), left out"] += 1
    gone = [line for line in missing if is_image(Path(line))]
    if missing and len(missing) == number:
        if not gone:
            raise NoSuchSplit(
                f"{listing}: no line is the path of an image, the first is {missing[0][:80]}; write one path "
                "in a line (class names belong in classes.txt, folders in data.yaml)"
            )
        places = tried(described.places(gone[0], (listing.parent,)))
        raise NoSuchSplit(
            f"{listing}: none of the {number} images is there; put them there (some tools export no images "
            f"unless told to); looked for the first in {places}"
        )
    remarks[NO_IMAGE] += len(gone)
    remarks[f"lines of {listing.name} that are no path of an image, left out"] += len(missing) - len(gone)


class LabelFiles:
    """Finds the label files of images; lists the files in each folder of images only once."""

    def __init__(self, home: Path, names: Sequence[str] = ("labels",)) -> None:
        """Remember `home`, the folder of --data, and `names`, the lower-case names of label folders.

        For an image inside `home`, the path of the labels is found by replacing a folder `images` below
        `home` by `labels`. A folder `images` above `home` is never replaced.
        """
        self._home = home
        self._names = names
        self._by_stem: dict[Path, dict[str, Path]] = {}
        self._owners: dict[Path, Path] = {}
        self.without_image: list[Path] = []  # text files whose image is missing, or that are no labels

    def of(self, image: Path) -> Path | None:
        """Return the label file of an image; None if there is none.

        The label file has the name of the image with the suffix .txt. It is looked for first in the image's
        folder with the last `images` of the path replaced by `labels`, and then beside the image. Upper and
        lower case of both words are treated as equal.

        Raises:
            DatasetError: the label file also fits another image, whose name differs only in the suffix.
        """
        if image.parent not in self._by_stem:
            found: dict[str, Path] = {}
            for folder in filter(Path.is_dir, reversed(self.folders(image.parent))):
                found |= {_composed(stem): path for stem, path in files_by_stem(folder, ".txt").items()}
            self._by_stem[image.parent] = found
            beside = (path for path in image.parent.iterdir() if path.suffix.lower() != ".txt")
            others = {_composed(path.stem) for path in beside}
            self.without_image += [path for stem, path in found.items() if stem not in others]
        files = self._by_stem[image.parent]
        label = files.get(_composed(image.stem)) or files.get(_composed(image.name))
        if label is not None:
            first = self._owners.setdefault(label, image)
            if first != image:
                raise DatasetError(
                    f"{first} and {image.name} have the same labels, which go by the name without suffix; "
                    "rename one with its labels, or take it out"
                )
        return label

    def folders(self, images: Path) -> list[Path]:
        """Return the folders that may hold the labels for a folder of images, the most likely first."""
        inside = images.is_relative_to(self._home)
        parts = images.relative_to(self._home).parts if inside else images.parts
        above = self._home if inside else Path()
        found = [images]
        places = [place for place, part in enumerate(parts) if part.lower() in IMAGE_FOLDERS]
        if places:
            above = above.joinpath(*parts[: places[-1]])
            there = (_called([name], above) for name in self._names)
            named = next(filter(None, there), [above / "labels"])
            found = [*(path.joinpath(*parts[places[-1] + 1 :]) for path in named), images]
        return found


def _composed(stem: str) -> str:
    """Return a name with each accented letter as one character; macOS writes letter and accent separately."""
    return normalize("NFC", stem)
