"""Write results to a folder: drawn images and videos, YOLO label files, and one JSON file."""

import json
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from training.files import flush, write_atomically
from training.predict.draw import encode
from training.predict.result import Result
from training.predict.rows import as_document, label_rows
from training.predict.sources import Source

LABELS, JSON_FILE, CLASSES_FILE = "labels", "predictions.json", "classes.txt"


class Outputs:
    """The files that one run of `predict` writes.

    If Ctrl-C stops the run, every file is complete, and the files hold the results of all images that were
    processed until then.
    """

    def __init__(
        self, folder: Path, *, classes: tuple[str, ...], draw: bool, txt: bool, conf: bool, as_json: bool
    ) -> None:
        """Create the folder, and open its files.

        Args:
            classes: names of the model's classes.
            draw: whether to write drawn images and videos.
            txt: whether to write a label file for each image, and a file with the names of the classes.
            conf: whether each row of a detector's label file ends with the score.
            as_json: whether to write predictions.json.
        """
        self.folder, self._draw, self._txt, self._conf = folder, draw, txt, conf
        self._video: _Video | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if txt:
            write_atomically(folder / CLASSES_FILE, "".join(f"{name}\n" for name in classes))
        self._json = _JsonList(folder / JSON_FILE) if as_json else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_video()
        if self._json:
            self._json.close()

    def _end_video(self) -> None:
        if self._video:
            self._video.close()
            self._video = None

    def add(self, source: Source, result: Result, index: int | None, fps: float) -> None:
        """Write the result of an image, or of frame `index` (from 0) of a video with `fps` frames/s."""
        name = source.name if index is None else f"{source.name}_{index:06d}"
        if self._draw:
            self._add_drawn(source, result.plot(), index, fps)
        if self._txt:
            path = self.folder / LABELS / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, "".join(f"{row}\n" for row in label_rows(result, conf=self._conf)))
        if self._json:
            frame = {} if index is None else {"frame": index}
            self._json.add({"file": str(source), **frame, **as_document(result)})

    def _add_drawn(self, source: Source, drawn: NDArray[np.uint8], index: int | None, fps: float) -> None:
        path = drawn_path(self.folder, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        if index is None:
            write_atomically(path, encode(drawn, path.suffix))
            return
        if self._video is None or self._video.path != path:
            self._end_video()
            self._video = _Video(path, drawn.shape[:2], fps)
        self._video.add(drawn)


def drawn_path(folder: Path, source: Source) -> Path:
    """Return the path of a source's drawing: JPEG for a JPEG, PNG for any other image, MP4 for a video."""
    suffix = ".mp4"
    if source.kind == "image":
        suffix = ".jpg" if Path(source.where).suffix.lower() in (".jpg", ".jpeg", ".jfif") else ".png"
    return folder / f"{source.name}{suffix}"


class _JsonList:
    """A JSON list that is written item by item to a temporary file, and renamed when it is closed."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(f".{path.name}.partial")
        # Names of files may hold bytes that are no text: "\\udcff" is JSON for such a byte.
        self._file = self._partial.open("w", encoding="utf-8", errors="backslashreplace")
        self._before = "[\n"

    def add(self, document: dict[str, Any]) -> None:
        self._file.write(self._before + json.dumps(document, ensure_ascii=False))
        self._before = ",\n"

    def close(self) -> None:
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._file.close()
        flush(self._partial)
        self._partial.replace(self._path)


class _Video:
    """A drawn video; if OpenCV has no encoder for MP4, a folder of drawn frames instead."""

    def __init__(self, path: Path, frame_hw: tuple[int, int], fps: float) -> None:
        self.path, self._partial = path, path.with_name(f".{path.stem}.partial.mp4")
        # Encoders cut odd sizes to even ones, and OpenCV drops frames of another size.
        self._height, self._width = (size + size % 2 for size in frame_hw)
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._partial), codec, fps, (self._width, self._height))
        self._count = 0

    def add(self, frame: NDArray[np.uint8]) -> None:
        if not self._writer.isOpened():
            folder = self.path.with_suffix("")
            folder.mkdir(exist_ok=True)
            write_atomically(folder / f"{self._count:06d}.jpg", encode(frame, ".jpg"))
        else:
            if abs(frame.shape[0] - self._height) > 1 or abs(frame.shape[1] - self._width) > 1:
                frame = cv2.resize(frame, (self._width, self._height)).astype(np.uint8, copy=False)
            sides = (0, self._height - frame.shape[0], 0, self._width - frame.shape[1])
            padded = cv2.copyMakeBorder(frame, *sides, cv2.BORDER_REPLICATE)
            if self._writer.write(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR)) is False:  # None before OpenCV 5
                raise OSError(f"{self._partial}: a frame cannot be written; is the disk full?")
        self._count += 1

    def close(self) -> None:
        opened = self._writer.isOpened()
        self._writer.release()
        if opened:
            flush(self._partial)
            self._partial.replace(self.path)
