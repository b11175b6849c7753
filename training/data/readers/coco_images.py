"""Finds the images that a COCO file lists, in any of the folders where tools put images."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from unicodedata import normalize
from urllib.parse import parse_qs, unquote, urlsplit

from training.data.images.image_file import is_image
from training.data.labels.files_below import files_below

UPLOADED = re.compile(r"[0-9a-f]{8}-+")  # what Label Studio puts before the names of uploaded images


class ImageFinder:
    """Finds, in several folders, the image file that an entry of a label file names in `file_name`."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take the folders to search, the most likely first; folders that do not exist are skipped."""
        self.folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._by_name = [_by_name(folder) for folder in self.folders]

    def find(self, file_name: str) -> Path | None:
        """Return the image file of an entry; None if it is not found.

        The name can be a URL or a path, even a path of another machine or of Windows. First, the leading
        folders of the name are removed, one by one, until the rest is the path of a file in one of the
        folders to search. If only the file name is left, case and the encoding of accents can differ. Second,
        if exactly one image in the subfolders of the first folder has the same file name, that image is
        returned. Last, the whole path is tried as written, even if it leads out of the folders to search.
        """
        for text in dict.fromkeys((file_name, file_name.strip(), _path_of(file_name.strip()))):
            if file := self._literal(text):
                return file
        bare = PurePosixPath(_path_of(file_name).replace("\\", "/")).name
        below = [path for name in _spellings(bare) for path in self._below.get(name, ())]
        if len(below) == 1:
            return below[0]
        shorter = UPLOADED.sub("", bare, count=1)
        if shorter != bare and (file := self._by_bare_name(shorter)):
            return file
        elsewhere = (folder / file_name.replace("\\", "/") for folder in self.folders)
        return next(filter(_is_file, elsewhere), None)

    def _literal(self, text: str) -> Path | None:
        found = self._by_bare_name(text)  # also a file whose own name has a backslash
        if found is not None:
            return found
        parts = [
            part
            for part in PurePosixPath(text.replace("\\", "/")).parts
            if part not in ("/", "..") and not part.endswith(":")
        ]
        for start in range(len(parts) - 1):
            for folder in self.folders:
                file = folder.joinpath(*parts[start:])
                if _is_file(file):
                    return file
        return self._by_bare_name(parts[-1]) if parts else None

    def _by_bare_name(self, name: str) -> Path | None:
        for spelling in _spellings(name):
            for by_name in self._by_name:
                if spelling in by_name:
                    return by_name[spelling]
        exact = (folder / name for folder in self.folders if name and "/" not in name)  # without a suffix
        return next(filter(_is_file, exact), None)

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        """Return the images in subfolders of the first folder; the keys are their names in lower case."""
        found: dict[str, list[Path]] = {}
        for folder in self.folders[:1]:
            for path in filter(is_image, files_below(folder)):
                found.setdefault(_folded(path.name), []).append(path)
        return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long: some exports have the image itself, as text, for a name
        return False


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the image files directly in a folder, by name as written and by name in lower case."""
    files = list(filter(is_image, folder.iterdir()))
    return {_folded(path.name): path for path in files} | {path.name: path for path in files}


def _folded(name: str) -> str:
    return normalize("NFC", name).lower()  # macOS takes accents and letters apart


def _spellings(name: str) -> Iterator[str]:
    yield from dict.fromkeys((name, _folded(name)))


def _path_of(file_name: str) -> str:
    """Return the path in a URL such as http://host/a%20b.jpg or /data/local-files/?d=a%20b.jpg."""
    if "://" in file_name or "/?d=" in file_name:
        try:
            address = urlsplit(file_name)
        except ValueError:  # such as http://[host/a.jpg
            return unquote(file_name)
        asked = parse_qs(address.query) if "/?d=" in file_name else {}  # others sign the address, say
        return asked.get("d", [unquote(address.path)])[0]
    return unquote(file_name)
