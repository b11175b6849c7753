"""The result type for objects with boxes, the parameters of a call, and the reading of an answer.

Boxes are in pixels of the source image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WrongTask
from ..facts import Facts
from ..parameters import Classes, Confidence, as_text
from ..service_answer import common as common_of_answer
from ..types import Answer, Layout
from .calls import task_of
from .optional import supervision


@dataclass(frozen=True)
class Detection:
    """One detected object: box, score and class."""

    box_xyxy: tuple[float, float, float, float]  # source pixels
    score: float  # 0..1
    class_name: str
    class_id: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections(Answer):
    """The objects that were found in one image. Iterating yields one Detection per object, best first."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4)  source pixels, inside the image
    scores: NDArray[np.float32]  # (N,)  0..1, highest first
    class_ids: NDArray[np.int64]  # (N,)
    class_names: tuple[str, ...]  # N, one for each detection

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,) or len(self.class_names) != n:
            raise ValueError(
                f"{self.boxes_xyxy.shape=} {self.class_ids.shape=} {self.class_names=} do not fit {n=}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(
            self.boxes_xyxy.astype(float).tolist(),
            self.scores.astype(float).tolist(),
            self.class_names,
            self.class_ids.tolist(),
            strict=True,
        )
        for (left, top, right, bottom), score, class_name, class_id in rows:
            yield Detection((left, top, right, bottom), score, class_name, class_id)

    def predictions(self) -> list[dict[str, Any]]:
        """Return the detections as dicts, as in the service's answer; x and y are the centre of the box."""
        return [_prediction(detection) for detection in self]

    def to_supervision(self) -> Any:
        """Return the objects as supervision.Detections, for the package supervision.

        Raises:
            NotInstalled: the package supervision is not installed.
        """
        return supervision().Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.class_names, dtype=str)},
        )

    def layout(self) -> Layout:
        """Return the detections as a table with one detection per row."""
        return Layout(
            f"{len(self)} found",
            ("class", "score", "left", "top", "right", "bottom"),
            ("", ".3f", ".1f", ".1f", ".1f", ".1f"),
            [(one.class_name, one.score, *one.box_xyxy) for one in self],
        )


@dataclass(frozen=True, kw_only=True)
class BoxParams:
    """The parameters of a call for boxes; a field that is None stands for the model's default."""

    conf: Confidence | None = None
    iou: float | None = None
    max_det: int | None = None
    classes: Classes | None = None
    agnostic_nms: bool | None = None
    controls: Mapping[str, float] = field(default_factory=dict)

    def query(self) -> dict[str, str | float]:
        """Return these parameters as the query of `POST /detect`; leave out parameters that are None."""
        asked = {"conf": self.conf, "iou": self.iou, "max_det": self.max_det, **self.controls}
        query: dict[str, str | float] = {name: value for name, value in asked.items() if value is not None}
        if self.agnostic_nms is not None:
            query["agnostic_nms"] = str(self.agnostic_nms).lower()
        if self.classes is not None:
            query["classes"] = as_text(self.classes)
        return query


def found_in(answer: Facts, *tasks: str) -> dict[str, Any]:
    """Return the fields of Detections, read from the service's answer.

    Args:
        answer: the answer to `POST /detect`.
        tasks: the tasks whose predictions the caller can read.

    Raises:
        ValueError: a member of the answer is missing, or has another type.
        WrongTask: the predictions belong to another task.
    """
    predictions = answer.parts("predictions")
    if predictions and (task := task_of(predictions[0])) not in tasks:
        raise WrongTask(answer.part("model").text("name"), task)
    found = [_from_prediction(prediction) for prediction in predictions]
    return {
        **common_of_answer(answer),
        "boxes_xyxy": np.array([one.box_xyxy for one in found], dtype=np.float32).reshape(-1, 4),
        "scores": np.array([one.score for one in found], dtype=np.float32),
        "class_ids": np.array([one.class_id for one in found], dtype=np.int64),
        "class_names": tuple(one.class_name for one in found),
    }


def _prediction(detection: Detection) -> dict[str, Any]:
    left, top, right, bottom = detection.box_xyxy
    return {
        "x": round((left + right) / 2, 3),
        "y": round((top + bottom) / 2, 3),
        "width": round(right - left, 3),
        "height": round(bottom - top, 3),
        "class": detection.class_name,
        "class_id": detection.class_id,
        "confidence": round(detection.score, 6),
    }


def _from_prediction(prediction: Facts) -> Detection:
    x, y, width, height = (prediction.number(name) for name in ("x", "y", "width", "height"))
    return Detection(
        box_xyxy=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        score=prediction.share("confidence"),
        class_name=prediction.text("class"),
        class_id=prediction.whole("class_id"),
    )
