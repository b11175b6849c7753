"""Hold the kept images in a folder that stays within its limits."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from service.errors import UnknownImage
from service.novel.record import ID, Record
from service.novel.score import Novelty

log = logging.getLogger(__name__)

_OURS = re.compile(rf"(?P<id>{ID})\.(jpg|json)(?P<partial>\.partial)?")
_SAME = 0.1  # images nearer than this, in units of rarity, are nearly the same image


class Folder:
    """A folder of novel images: for each, ID.jpg and ID.json. Use it in one thread at a time.

    Only this object may write into the folder. It leaves files alone that do not have such names.
    """

    def __init__(self, path: Path, images: int, size_bytes: int) -> None:
        """Begin with nothing; `read` finds what an earlier process has left.

        Args:
            path: the folder.
            images: most images in it.
            size_bytes: most bytes of all its files. While an image is written, its bytes come in addition.
        """
        self._path, self._most_images, self._most_bytes = path, images, size_bytes
        self._kept: dict[str, Record] = {}
        self._sizes: dict[str, int] = {}  # bytes of both files

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._kept)

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records, in no order."""
        return iter(self._kept.values())

    def read(self) -> None:
        """Make the folder if it is missing, read what is in it, and remove files of unfinished writes.

        Raises:
            OSError: the folder cannot be made, read or changed.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept, self._sizes = {}, {}
        for record in read_records(self._path):
            self._kept[record.id] = record
            self._sizes[record.id] = record.file_bytes + self._file(record.id, "json").stat().st_size
        for path in list(self._path.iterdir()):
            found = _OURS.fullmatch(path.name)
            if found and _is_file(path) and (found["partial"] or found["id"] not in self._kept):
                path.unlink(missing_ok=True)
                log.info("novel_leftover_removed", extra={"file": path.name})
        for victim in self._victims(0, 0, None) or ():
            self.delete(victim)

    def has_like(self, novelty: Novelty, model_sha256: str) -> bool:
        """Return whether the folder has an image that is nearly the same and at least as novel."""
        return any(record.score >= novelty.score for record in self._alike(novelty, model_sha256))

    def has_room(self, score: float) -> bool:
        """Return whether an image with this score would be kept, if it is not too large."""
        return self._victims(1, 0, score) is not None

    def keep(self, record: Record, jpeg: bytes, novelty: Novelty) -> bool:
        """Write an image and its record, and delete less novel ones if necessary; return whether it was kept.

        Raises:
            OSError: the files cannot be written; what was written of them is removed.
        """
        text = record.model_dump_json().encode()
        size = len(jpeg) + len(text)
        alike = [one.id for one in self._alike(novelty, record.model_sha256)]
        victims = self._victims(1, size, record.score, gone=alike)
        if victims is None:
            return False
        image, sidecar = self._file(record.id, "jpg"), self._file(record.id, "json")
        second = record.hour.timestamp()  # a file's time must not be more exact than the record's hour
        try:
            parts = [_write(image, jpeg, second), _write(sidecar, text, second)]
            for victim in (*alike, *victims):
                self.delete(victim)
            # The record comes last: an image without a record is a leftover, which the next start removes.
            for part, whole in zip(parts, (image, sidecar), strict=True):
                part.replace(whole)
        except OSError:
            for path in (image, sidecar):
                _partial(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            raise
        self._kept[record.id], self._sizes[record.id] = record, size
        return True

    def image(self, image_id: str) -> bytes:
        """Return the file of an image.

        Raises:
            UnknownImage: it is not kept, or its file is gone.
        """
        try:
            path = self._file(self._record(image_id).id, "jpg")
            if _is_file(path):
                return path.read_bytes()
        except FileNotFoundError:
            pass
        raise UnknownImage(image_id)

    def delete(self, image_id: str) -> None:
        """Delete an image and its record.

        Raises:
            UnknownImage: it is not kept.
            OSError: a file cannot be deleted.
        """
        self._record(image_id)
        # The record first; see `keep`.
        self._file(image_id, "json").unlink(missing_ok=True)
        self._file(image_id, "jpg").unlink(missing_ok=True)
        del self._kept[image_id], self._sizes[image_id]

    def forget_removed(self) -> None:
        """Forget the images of which somebody has removed a file, and remove the other file.

        Raises:
            OSError: the folder cannot be read or changed.
        """
        try:
            there = {path.name for path in self._path.iterdir()}
        except FileNotFoundError:
            there = set()
        gone = [one for one in self._kept if not {f"{one}.jpg", f"{one}.json"} <= there]
        for image_id in gone:
            self.delete(image_id)

    def _record(self, image_id: str) -> Record:
        if image_id not in self._kept:
            raise UnknownImage(image_id)
        return self._kept[image_id]

    def _file(self, image_id: str, suffix: str) -> Path:
        return self._path / f"{image_id}.{suffix}"

    def _alike(self, novelty: Novelty, model_sha256: str) -> list[Record]:
        """Return the kept images of the same model that are nearly the same as an image."""
        same = [record for record in self if record.model_sha256 == model_sha256]
        if not same:
            return []
        distances = np.linalg.norm(np.array([record.place for record in same]) - novelty.place, axis=1)
        return [same[place] for place in np.flatnonzero(distances < _SAME)]

    def _victims(
        self, images: int, size_bytes: int, score: float | None, gone: list[str] | None = None
    ) -> list[str] | None:
        """Return the ids of the images to delete for new ones: the least novel first; of equals, the oldest.

        Args:
            images: number of new images.
            size_bytes: their size.
            score: score of the new image; None if any image may be deleted.
            gone: ids of images that are deleted in any case; they are not returned.

        Returns:
            The ids; None if an image that is at least as novel would have to be deleted, or if even an empty
            folder would have no room.
        """
        gone = gone or []
        left = sorted(
            (one for one in self if one.id not in gone), key=lambda one: (one.score, one.hour, one.id)
        )
        images += len(left)
        size_bytes += sum(self._sizes[one.id] for one in left)
        victims = []
        for one in left:
            if images <= self._most_images and size_bytes <= self._most_bytes:
                break
            if score is not None and one.score >= score:
                return None
            victims.append(one.id)
            images -= 1
            size_bytes -= self._sizes[one.id]
        return victims if images <= self._most_images and size_bytes <= self._most_bytes else None


def read_records(folder: Path) -> list[Record]:
    """Return the records in a folder whose images are whole; leave out all others.

    Links, pipes and so on with such names are left out, too, because this service writes only files.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in sorted(folder.iterdir()):
        match = _OURS.fullmatch(path.name)
        image = path.with_suffix(".jpg")
        if match is None or path.suffix != ".json" or not (_is_file(path) and _is_file(image)):
            continue
        try:
            record = Record.model_validate_json(path.read_bytes())
            whole = image.stat().st_size == record.file_bytes
        except (ValidationError, OSError):  # one file must not hide the others, which count for the limits
            continue
        if whole and record.id == match["id"]:
            found.append(record)
    return found


def _write(path: Path, content: bytes, second: float) -> Path:
    """Write the content into a temporary file beside `path`, for its owner only; return the file's path."""
    partial = _partial(path)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    os.utime(partial, (second, second))
    return partial


def _is_file(path: Path) -> bool:
    """Return whether a path is a file, and not a link, because a link could lead out of the folder."""
    return path.is_file() and not path.is_symlink()


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
