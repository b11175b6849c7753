"""Find the images, videos and streams that a command line names, and read them frame by frame."""

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.images.image_file import IMAGE_SUFFIXES, read_rgb
from training.errors import DatasetError

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv",
)
# fmt: on
TIMEOUT_MS = 10_000  # a stream must answer within this time
SHARE_READ = 0.9  # a video's header may announce a few frames too many; below this share, it is damaged

Kind = Literal["image", "video", "stream"]


@dataclass(frozen=True)
class Source:
    """An image file, a video file, or a camera or address that sends frames."""

    kind: Kind
    where: Path | str
    name: str  # relative path of what is written for it, without a suffix

    def __str__(self) -> str:
        return re.sub(r"//[^/@]*@", "//…@", str(self.where))  # an address may hold a password


@dataclass
class Found:
    """The sources that a command line names, the words without a source, and counts of other files."""

    output: Path  # folder of earlier results, which are no sources
    sources: list[Source] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)  # other files in folders, by suffix
    names: set[str] = field(default_factory=set)  # names of the sources so far


class Frame(NamedTuple):
    """One image that was read from a source, and its place in a video or stream."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    number: int | None  # from 0 in a video or stream; None: the source is a single image


def find_sources(words: Sequence[str], output: Path) -> Found:
    """Return the sources that a command line names, in the order of `words`; search folders recursively.

    Args:
        words: paths of files and folders, patterns such as "day*/*.jpg", camera numbers and addresses.
        output: folder of earlier results. If a folder above it is searched, the earlier results are left out.
    """
    found = Found(output.resolve())
    for word in words:
        path, before = Path(word), len(found.sources)
        if path.is_dir():
            _add_folder(found, path)
        elif path.exists() and not path.is_char_device():
            _add(found, path, path.name)
        elif word.isdecimal() or path.is_char_device() or "://" in word:
            _append(found, "stream", word, _stream_name(word))
        elif matches := sorted(glob.glob(word, recursive=True)):  # noqa: PTH207  Path refuses absolute ones
            base = os.path.commonpath([str(Path(match).parent) for match in matches])
            for match in map(Path, matches):
                if match.is_file():
                    _add(found, match, os.path.relpath(match, base), searched=Path(base))
                elif "**" not in word:  # "**" already matches the files of all folders
                    _add_folder(found, match, match.relative_to(base))
        if len(found.sources) == before:
            nothing = "no image or video in this folder" if path.is_dir() else "no such file or folder"
            nothing = "no image or video matches this pattern" if glob.has_magic(word) else nothing
            found.problems.append(f"{word}: {nothing}")
    return found


def _add_folder(found: Found, folder: Path, under: Path = Path()) -> None:
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        _add(found, path, str(under / path.relative_to(folder)), searched=folder)


def _add(found: Found, path: Path, name: str, *, searched: Path | None = None) -> None:
    """Add a file as a source; if a search found the file, add it only if it is an image or a video.

    Args:
        searched: folder whose search found the file. Hidden files and earlier results are then not added.
            None: the user named the file. Such a file is added whatever its suffix.
    """
    suffix = path.suffix.lower()
    if searched is not None:
        if path.name.startswith(".") or _earlier_result(path, searched, found.output):
            return
        if suffix not in VIDEO_SUFFIXES and suffix not in IMAGE_SUFFIXES:
            found.passed_over[suffix or "no suffix"] += 1
            return
    _append(found, "video" if suffix in VIDEO_SUFFIXES else "image", path, str(Path(name).with_suffix("")))


def _earlier_result(path: Path, searched: Path, output: Path) -> bool:
    """Return whether a file is in the output folder, and the output folder is below the searched folder."""
    below = not searched.resolve().is_relative_to(output)
    return below and path.resolve().is_relative_to(output)


def _append(found: Found, kind: Kind, where: Path | str, name: str) -> None:
    """Append a source under an unused name, so that a.jpg and a.png do not write the same label file."""
    unused, count = name, 1
    while unused in found.names:
        count += 1
        unused = f"{name}-{count}"
    found.names.add(unused)
    found.sources.append(Source(kind, where, unused))


def _stream_name(word: str) -> str:
    if word.isdecimal():
        return f"camera-{word}"
    without_password = re.sub(r"^\w+://([^/@]*@)?", "", word)
    return re.sub(r"[^\w.-]+", "-", without_password).strip("-") or "stream"


class FrameReader:
    """Reads the frames of one source; iterate over the reader within a `with` block."""

    def __init__(self, source: Source, read: Callable[[Path], NDArray[np.uint8]] = read_rgb) -> None:
        """Open a source; `read` is a function that returns the RGB pixels (H, W, 3) of an image file.

        Raises:
            DatasetError: the source cannot be opened; the message says why, as far as is known.
        """
        self.source = source
        self._read = read
        self._capture: cv2.VideoCapture | None = None
        self.fps, self.frames = 25.0, 1 if source.kind == "image" else 0  # 0: not known
        if source.kind != "image":
            self._capture = capture = _open(source)
            fps = capture.get(cv2.CAP_PROP_FPS)
            self.fps = fps if 0 < fps <= 1000 else 25.0  # cameras and streams may state anything
            self.frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._capture is not None:
            self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            DatasetError: an image cannot be decoded, a video ends too early, or a stream ends.
        """
        if self._capture is None:
            yield Frame(self._read(Path(self.source.where)), None)
            return
        count = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            yield Frame(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), count)
            count += 1
        if self.source.kind == "stream" and not self.frames:  # the address can be that of a file, which ends
            raise DatasetError(f"{self.source}: the stream ended after {count} frames")
        if count == 0 or count < SHARE_READ * self.frames:
            raise DatasetError(
                f"{self.source}: damaged, only {count} of about {self.frames} frames can be decoded"
            )


def _open(source: Source) -> cv2.VideoCapture:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's messages break progress bars,
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # and so do OpenCV's
    where = str(source.where)
    if where.isdecimal() and source.kind == "stream":
        capture = cv2.VideoCapture(int(where))
        why = "no camera has this number, or another program is using it"
    elif source.kind == "stream" and "://" not in where:
        capture = cv2.VideoCapture(where, cv2.CAP_V4L2)
        why = "the camera cannot be read, or another program is using it"
    else:
        # FFmpeg alone: OpenCV would go on to other libraries, which have no time limit.
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        capture = cv2.VideoCapture(where, cv2.CAP_FFMPEG, limits)
        why = "not a video that can be decoded"
        if source.kind == "stream":
            why = "no stream that can be read at this address"
    if not capture.isOpened():
        raise DatasetError(f"{source}: {why}")
    return capture
