"""`format=coco`: what `COCO.loadRes` reads, with the images and categories that it refers to."""

from collections.abc import Sequence
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from service.artifact.manifest import Manifest
from service.errors import InvalidParameter, ServiceError
from service.observe.protocol import Answered
from service.rest.formats.protocol import Outcome
from service.rest.problems import to_problem
from service.rest.wire import Problem
from service.tasks.detect import Detections


class CocoImage(BaseModel):
    """One image; its id is its place in the request, from 1."""

    id: int
    width: int
    height: int


class CocoCategory(BaseModel):
    """One class of the model; its id is the class id of the other answers."""

    id: int
    name: str


class CocoResult(BaseModel):
    """One object: bbox is left, top, width and height in pixels of the upright image."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


class CocoAnswer(BaseModel):
    """Results for `COCO.loadRes`, and the rest of a data set that they belong to."""

    images: list[CocoImage] = []
    categories: list[CocoCategory] = []
    results: list[CocoResult] = []
    problems: dict[int, Problem] = {}  # by the place of an image that could not be answered


class CocoFormat:
    """The same for one image and for several."""

    def check(self, manifest: Manifest) -> None:
        """Do nothing if the model gives boxes.

        Raises:
            InvalidParameter: it does not.
        """
        if manifest.task != "detect":
            sentence = f"format=coco needs boxes, and the task of model {manifest.name!r} is {manifest.task}"
            raise InvalidParameter("format", f"{sentence}; use format=json")

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return the results of every image, one list for all."""
        answer = CocoAnswer()
        for image_id, outcome in enumerate(outcomes, 1):
            if isinstance(outcome.found, ServiceError):
                answer.problems[image_id] = to_problem(outcome.found, outcome.request_id)
                continue
            height, width = outcome.found.image_hw
            answer.images.append(CocoImage(id=image_id, width=width, height=height))
            answer.results += _results(image_id, outcome.found)
            if not answer.categories:
                names = outcome.found.version.manifest.class_names
                answer.categories = [CocoCategory(id=i, name=name) for i, name in enumerate(names)]
        left_out: Any = None if answer.problems else {"problems"}
        return Response(answer.model_dump_json(exclude=left_out), media_type="application/json")


def _results(image_id: int, found: Answered) -> list[CocoResult]:
    detections = found.result
    assert isinstance(detections, Detections)
    rows = zip(
        detections.boxes_xyxy.astype(float).tolist(),
        detections.scores.astype(float).tolist(),
        detections.class_ids.tolist(),
        strict=True,
    )
    return [
        CocoResult(
            image_id=image_id,
            category_id=class_id,
            bbox=(round(left, 3), round(top, 3), round(right - left, 3), round(bottom - top, 3)),
            score=round(score, 6),
        )
        for (left, top, right, bottom), score, class_id in rows
    ]
