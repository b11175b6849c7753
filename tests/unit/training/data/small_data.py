"""Data sets small enough to check by hand, in memory and on disk."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.images.reduced_jpeg import Fit
from training.data.labels.remarks import Remarks
from training.data.sample import Sample
from training.errors import DatasetError
from training.skeleton import Skeleton

GREY = 60


def sample(
    image_hw: tuple[int, int], boxes: list[list[float]], class_ids: list[int], name: str = "made"
) -> Sample:
    """Return a sample with a grey image, whose boxes are filled with a colour for each class id."""
    image = np.full((*image_hw, 3), GREY, dtype=np.uint8)
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0]], dtype=np.uint8)
    for (x1, y1, x2, y2), class_id in zip(np.array(boxes, dtype=int).reshape(-1, 4), class_ids, strict=True):
        image[y1:y2, x1:x2] = colours[class_id]
    return Sample(
        image, np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(class_ids, dtype=np.int64), name
    )


class MemoryDataset:
    """A data set of given samples; loading a sample that is None fails."""

    class_names: tuple[str, ...] = ("red", "green", "blue", "yellow")
    remarks: Remarks = {}  # noqa: RUF012  (no remarks)
    skeleton: Skeleton | None = None

    def __init__(self, samples: list[Sample | None]) -> None:
        self._samples = samples
        self.loads = 0

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        self.loads += 1
        found = self._samples[index]
        if found is None:
            raise DatasetError(f"image {index} is torn")
        return found

    def name(self, index: int) -> str:
        return f"image-{index}.png"

    def encoded(self, index: int) -> bytes:
        return f"image {index}".encode()

    def path(self, index: int) -> None:
        return None

    def class_ids(self, index: int) -> NDArray[np.int64]:
        return self.load(index).labelled_classes


def with_regions(made: Sample, ignored: list[list[float]]) -> Sample:
    """Return the sample with ignored regions, which are painted yellow."""
    image = made.image.copy()
    for x1, y1, x2, y2 in np.array(ignored, dtype=int).reshape(-1, 4):
        image[y1:y2, x1:x2] = [250, 250, 0]
    return replace(made, image=image, ignored_xyxy=np.array(ignored, dtype=np.float32).reshape(-1, 4))


def write_image(path: Path, image_hw: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, encoded = cv2.imencode(path.suffix.lower(), np.full((*image_hw, 3), GREY, dtype=np.uint8))
    assert ok
    path.write_bytes(encoded.tobytes())


def write_xml(path: Path, objects: list[tuple[str, float, float, float, float]]) -> None:
    body = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><size><width>999</width><height>999</height></size>{body}</annotation>",
        encoding="utf-8",
    )


def coco_document(*names, box=(1, 2, 10, 8), **more):
    """Return a file that lists images of these names, each with a box, and two categories."""
    return {
        "images": [
            {"id": place, "file_name": name, "height": 20, "width": 30} for place, name in enumerate(names)
        ],
        "annotations": [
            {"id": 0, "image_id": place, "category_id": 1, "bbox": list(box)} for place in range(len(names))
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 5, "name": "blue"}],
        **more,
    }


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def extent(marked: NDArray[np.bool_]) -> list[int]:
    """Return the box (x1, y1, x2, y2) around the pixels that are set."""
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
