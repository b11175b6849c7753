"""Reads the description of a YOLO data set: data.yaml, Darknet's obj.data, or a list of class names."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from unicodedata import normalize

import yaml

from training.data.images.image_file import VALIDATION, is_image, split_names
from training.errors import DatasetError

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
YAML, DARKNET, CLASS_LISTS = (".yaml", ".yml"), (".data",), (".names", ".labels")
CLASSES = ("classes.txt", "*darknet.labels")  # the second is written by Roboflow and V7
BELOW = ("", "*/", "*/*/")  # where labelling tools put classes.txt
NOTHING = ("", "~", "null", "Null", "NULL", "None")  # what YAML and Python call no value
SPLITS = ("train", *VALIDATION, "test", "minival")
# Keys that change nothing about images and boxes; other keys without a meaning here are named in the log.
HARMLESS = (
    "flip_idx",
    "kpt_names",
    "roboflow",
    "license",
    "info",
    "description",
    "version",
    "date",
    "author",
)
KEYS = frozenset({*SPLITS, *HARMLESS, "path", "names", "nc", "kpt_shape", "channels"})

log = logging.getLogger(__name__)


class Description(NamedTuple):
    """The classes, images and keypoints that the files of a YOLO data set declare."""

    file: Path  # where this is written
    home: Path  # the folder that --data names, or in which the file of --data is
    bases: tuple[Path, ...]  # folders that paths are relative to; the first in which a path exists counts
    names: Mapping[int, str]  # name of each class id, by ascending id; there can be gaps
    sources: Mapping[str, tuple[str, ...]]  # declared folders and lists of images of each split
    keypoints: tuple[int, int] | None = None  # number of keypoints, and of columns for each
    keypoint_keys: Mapping[str, Any] = MappingProxyType({})  # flip_idx and kpt_names, as written

    def places(self, text: str, among: Sequence[Path] = ()) -> Iterator[Path]:
        """Yield the paths that a declared path can stand for, the most likely path first.

        Some tools write paths that begin with `../` (Roboflow), with `data/` (CVAT) or with a former name of
        the data set's folder. Other tools write absolute paths of another machine. In all these cases, the
        beginning is removed, and the rest is also tried as a path in the folder of --data.

        Args:
            among: more folders that the path can be relative to; they are tried before `bases`.
        """
        for form in dict.fromkeys((text, normalize("NFC", text), normalize("NFD", text))):
            yield from self._places(PurePosixPath(form.replace("\\", "/")), among)

    def _places(self, written: PurePosixPath, among: Sequence[Path]) -> Iterator[Path]:
        parts = [part for part in written.parts if part not in ("..", "/")]
        bases = (*among, *self.bases)
        if ".." in written.parts[:1]:
            yield from (base.joinpath(*parts) for base in bases)
        yield from (base / written for base in (*bases, Path.cwd()))
        absolute = written.is_absolute() or (parts[:1] and parts[0].endswith(":"))
        for place in range(1, len(parts)):
            known = parts[place] == "data" or parts[place - 1] in ("data", self.home.name)
            last = place == len(parts) - 1  # a bare file name is tried only for a list
            elsewhere = absolute and (not last or written.suffix.lower() in (".txt", *CLASS_LISTS))
            # A list may name files of a missing folder, so only declared paths are tried without a folder.
            renamed = not among and place == 1 and not last and not (self.home / parts[0]).exists()
            if known or elsewhere or renamed:
                yield self.home.joinpath(*parts[place:])


def is_yolo(root: Path, split: str) -> bool:
    """Return whether `root` is, or contains, a file that describes a YOLO data set."""
    if root.is_file():
        return root.suffix.lower() in (*YAML, *DARKNET, *CLASS_LISTS, ".txt")
    return _described_by(root) is not None


def describe(root: Path) -> Description:
    """Return the description of a data set.

    Args:
        root: a folder, or the file in it that describes the data set: data.yaml, obj.data, a list of class
            names (classes.txt, obj.names), or a list of images (train.txt).

    Raises:
        DatasetError: no file names the classes, or a file is malformed or declares something that is not
            supported.
    """
    home = without_dots((root if root.is_dir() else root.parent).absolute())
    if root.is_file() and not is_yolo(root, ""):
        raise DatasetError(f"{root}: describes no YOLO data set; give a folder, or a file such as data.yaml")
    file = root if root.is_file() and not _is_image_list(root) else _described_by(home)
    if file is None:
        raise DatasetError(
            f"{home}: no file names the classes; put a data.yaml with names: [cat, dog] there, or a "
            "classes.txt with one name in a line"
        )
    if file.suffix.lower() in YAML:
        found = _of_yaml(file, home, given=root.is_file())
    elif file.suffix.lower() in DARKNET:
        found = _of_darknet(file, home)
    else:
        # An image can be called train.jpg: then train.txt holds its labels.
        labelled = {path.stem for path in home.iterdir() if is_image(path)}
        there = (split for split in SPLITS if (home / f"{split}.txt").is_file() and split not in labelled)
        lists = {split: (f"{split}.txt",) for split in there}
        found = Description(file, home, (home,), _names_in_lists(file, home), lists)
    if not _is_image_list(root):
        return found
    own = root.stem.lower() if root.stem.lower() in SPLITS else "train"
    others = {split: () for split in SPLITS if split not in split_names(own)}
    return found._replace(sources={own: (str(root.absolute()),), **others})


def tried(places: Iterable[Path]) -> str:
    """Return the paths that were tried, each once, as text for an error message."""
    return ", ".join(dict.fromkeys(map(str, places)))


def without_dots(path: Path) -> Path:
    """Return the path without `..`.

    Symbolic links in the path stay. But if the path without `..` leads to another file, the links
    are resolved.
    """
    if ".." not in path.parts:
        return path
    short = Path(os.path.normpath(path))
    return short if short.exists() and short.samefile(path) else path.resolve()


def _is_image_list(root: Path) -> bool:
    return root.is_file() and root.suffix.lower() == ".txt" and root.name.lower() != "classes.txt"


def _described_by(home: Path) -> Path | None:
    """Return the file in a folder that names the classes of the data set; None if there is none."""
    usual = [home / name for name in NAMES if (home / name).is_file()]
    others = usual or [path for path in _files(home, "*") if path.suffix.lower() in YAML and _has_names(path)]
    if len({path.read_bytes() for path in others}) > 1:
        found = ", ".join(path.name for path in others)
        raise DatasetError(f"{home}: {found} all describe a data set; name one of these files with --data")
    for pattern in ("obj.data", "*.data", "data/*.data", "cfg/*.data", "obj.names", "*.names"):
        others += _files(home, pattern)
    lists = [path for below in BELOW for name in CLASSES for path in sorted(home.glob(f"{below}{name}"))]
    if not others and lists and _has_labels(home):
        return lists[0]
    return others[0] if others else None


def _files(home: Path, pattern: str) -> list[Path]:
    """Return the files in a folder that match a pattern and are not hidden, sorted."""
    return [path for path in sorted(home.glob(pattern)) if path.is_file() and not path.name.startswith(".")]


def _has_labels(home: Path) -> bool:
    """Return whether there are label files, either in folders called `labels` or beside images."""
    folders = [path for pattern in ("*", "*/*") for path in home.glob(pattern) if path.is_dir()]
    return any(
        path.name.lower() in ("labels", "labels_obb") and any(path.rglob("*.txt")) for path in folders
    ) or any(
        path.with_suffix(".txt").exists()
        for folder in (home, *folders)
        for path in filter(is_image, folder.iterdir())
    )


def _has_names(path: Path) -> bool:
    try:
        return "names" in _parsed_yaml(path)
    except DatasetError:
        return False


class _Loader(yaml.BaseLoader):
    """Reads every YAML value as text, exactly as written, so that classes can be called yes, no or 1.50."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raise ConstructorError if a key occurs twice."""
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error


def _parsed_yaml(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DatasetError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: must hold keys and values, such as names: [cat, dog]")
    named = {key.lower() if key.lower() in KEYS else key: value for key, value in values.items()}
    if len(named) < len(values):
        raise DatasetError(f"{path}: a key stands twice, in capital and small letters; take one out")
    return {key: value for key, value in named.items() if value not in NOTHING}


def _of_yaml(file: Path, home: Path, *, given: bool) -> Description:
    values = _parsed_yaml(file)
    names = _checked(file, _names_in_yaml(file, values.get("names")), values.get("nc"), "nc")
    if values.get("channels", "3") != "3":
        raise DatasetError(
            f"{file}: channels: {values['channels']}: models take images of 3 channels; remove the key to "
            "read the files as RGB"
        )
    unread = sorted(values.keys() - KEYS)
    if unread:
        log.info(f"{file}: not read: {', '.join(unread)}")
    sources = {split: _paths(file, split, values[split]) for split in SPLITS if split in values}
    validation = [split for split in VALIDATION if split in sources]
    if len({sources[split] for split in validation}) > 1:
        raise DatasetError(f"{file}: {' and '.join(validation)} mean the same split, but differ; keep one")
    bases = _bases(file, home, values.get("path"), given=given)
    keys: dict[str, Any] = {key: values[key] for key in ("flip_idx", "kpt_names") if key in values}
    return Description(file, home, bases, names, sources, _keypoints(file, values.get("kpt_shape")), keys)


def _bases(file: Path, home: Path, path: Any, *, given: bool) -> tuple[Path, ...]:
    """Return the folders that paths in a description can be relative to, in the order in which to try them.

    There are one or two such folders: the folder of --data (`home`), and the folder that the description
    declares as `path`. The declared folder comes first if it is inside `home`, or if --data names the
    description file (`given`). Otherwise, the declared folder comes second, because it may be a path of
    another machine.
    """
    if path is None:
        return (home,)
    if not isinstance(path, str):
        raise DatasetError(f"{file}: path must be one folder, such as path: ../my-images")
    folders = [folder for folder in (home / path, Path(path)) if folder.is_dir()]
    if not folders:
        log.warning(f"{file}: there is no folder {path} here; images are looked for in {home}")
        return (home,)
    if given or folders[0].resolve().is_relative_to(home.resolve()):
        return (folders[0], home)
    log.warning(f"{file}: images are looked for in {home}, which --data names, before {path}")
    return (home, folders[0])


def _paths(file: Path, split: str, value: Any) -> tuple[str, ...]:
    paths = value if isinstance(value, list) else [value]
    if not all(isinstance(path, str) and path.strip() for path in paths):
        raise DatasetError(f"{file}: {split}: must be a folder, a text file of images, or a list of these")
    return tuple(path.strip() for path in paths)


def _names_in_yaml(file: Path, names: Any) -> dict[int, str]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DatasetError(f"{file}: names must list the classes, such as names: [cat, dog]")
    try:
        numbered = {int(class_id): name for class_id, name in names.items()}
        if len(numbered) < len(names):
            raise ValueError("an id stands twice")
        return numbered
    except ValueError as error:
        raise DatasetError(
            f"{file}: names must give each class id its name, such as 0: cat ({error})"
        ) from error


def _checked(file: Path, names: Mapping[int, Any], count: Any, key: str) -> dict[int, str]:
    """Return the class names by ascending id.

    Args:
        count: the number of classes that the file declares under `key`; None: the file declares none.

    Raises:
        DatasetError: there is no name, a name is empty or repeated, an id is negative, or `count` differs
            from both the number of names and the highest id plus 1.
    """
    owners: dict[str, int] = {}
    for class_id, name in sorted(names.items()):
        if not isinstance(name, str) or not name.strip():
            raise DatasetError(f"{file}: class {class_id} has no name; write a text such as cat")
        if class_id < 0:
            raise DatasetError(f"{file}: class {class_id} ({name}): ids begin at 0")
        if name in owners:
            raise DatasetError(
                f"{file}: classes {owners[name]} and {class_id} are both called {name}; rename one of them"
            )
        owners[name] = class_id
    if not owners:
        raise DatasetError(f"{file}: names no class")
    if count is not None and count not in (str(len(names)), str(max(names) + 1)):
        raise DatasetError(f"{file}: {key} is {count}, but there are {len(names)} names; correct one of them")
    return {class_id: name for name, class_id in owners.items()}


def _keypoints(file: Path, shape: Any) -> tuple[int, int] | None:
    if shape is None:
        return None
    try:
        if not isinstance(shape, list):
            raise ValueError("not a list")
        number, columns = map(int, shape)
        if number < 1 or columns not in (2, 3):
            raise ValueError("no keypoint, or not 2 or 3 columns")
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{file}: kpt_shape: {shape}: must be the number of keypoints and their columns, such as [17, 3]"
        ) from error
    return number, columns


def _of_darknet(file: Path, home: Path) -> Description:
    """Return the description in a Darknet file, which has lines such as `train = data/train.txt`."""
    values = {}
    for line in _text(file).splitlines():
        key, found, value = line.partition("=")
        if found and not key.lstrip().startswith(("#", ";")):
            values[key.strip().lower()] = value.strip()
    unread = sorted(values.keys() - {*SPLITS, "classes", "names", "backup", "eval"})
    if unread:
        log.info(f"{file}: not read: {', '.join(unread)}")
    described = Description(file, home, (home,), {}, {s: (values[s],) for s in SPLITS if values.get(s)})
    places = list(described.places(values.get("names", "obj.names")))
    listed = next(filter(os.path.isfile, places), None)
    if listed is None:
        raise DatasetError(f"{file}: no file of class names; looked for {tried(places)}")
    count = f"classes in {file.name}"
    names = _checked(listed, dict(enumerate(_lines(listed))), values.get("classes"), count)
    return described._replace(names=names)


def _names_in_lists(file: Path, home: Path) -> dict[int, str]:
    """Return the names in a list of classes; raise DatasetError if another list of this file name differs."""
    names = _lines(file)
    for below in BELOW:
        for other in home.glob(f"{below}{file.name}"):
            if _lines(other) != names:
                raise DatasetError(
                    f"{file} names {names}, but {other} {_lines(other)}; make both lists the same"
                )
    return _checked(file, dict(enumerate(names)), None, "")


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).rstrip().splitlines()]
