"""Write answers for `format=coco`: COCO results, with the images and categories that they refer to."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, Field

from service.artifact.manifest import Manifest
from service.errors import BackendUnavailable, InvalidParameter, ServiceError
from service.observe.protocol import Answered
from service.rest.formats.protocol import Outcome
from service.rest.problems import to_problem
from service.rest.wire import Problem
from service.tasks.detect import Detections
from service.tasks.pose import Poses
from service.tasks.segment import RleMask, Segments


class CocoImage(BaseModel):
    """One image; its id is its position in the request, counted from 1."""

    id: int
    width: int
    height: int
    file_name: str | None = None  # left out for a raw body


class CocoCategory(BaseModel):
    """One class of the model; its id is the `class_id` of the JSON format."""

    id: int
    name: str


class CocoResult(BaseModel):
    """One detected object; `bbox` is left, top, width and height in pixels of the upright image."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    segmentation: RleMask | None = None  # task segment, unless masks=off
    keypoints: list[float] | None = None  # task pose: x, y and visibility 0..1 of each keypoint


class CocoAnswer(BaseModel):
    """Results for `COCO.loadRes`, with the images and categories that the results refer to."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    results: list[CocoResult]
    problems: Annotated[
        dict[int, Problem], Field(description="By image id, for images without an answer; left out if empty.")
    ] = {}


class CocoFormat:
    """The format coco: COCO results, with the same structure for one image and for several."""

    needs_drawing = False

    def check(self, manifest: Manifest) -> None:
        """Check that the model returns unrotated boxes, as the COCO format requires.

        Raises:
            InvalidParameter: the model is a classifier, or its boxes are rotated.
        """
        if manifest.task == "obb":
            sentence = f"format=coco has no rotated boxes, and model {manifest.name!r} returns them"
            raise InvalidParameter("format", f"{sentence}; use format=json")
        if manifest.task == "classify":
            sentence = f"format=coco needs boxes, and the task of model {manifest.name!r} is {manifest.task}"
            raise InvalidParameter("format", f"{sentence}; use format=json")

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return a response with one list that holds the results of every image."""
        answer = CocoAnswer(images=[], categories=[], results=[])
        for image_id, outcome in enumerate(outcomes, 1):
            if isinstance(outcome.found, ServiceError):
                answer.problems[image_id] = to_problem(outcome.found, outcome.request_id, outcome.file)
                continue
            manifest = outcome.found.version.manifest
            self.check(manifest)  # check again, because another version of the model may have answered
            categories = [CocoCategory(id=i, name=name) for i, name in enumerate(manifest.class_names)]
            if answer.categories and categories != answer.categories:
                changed = BackendUnavailable("the model got other classes meanwhile; send this image again")
                answer.problems[image_id] = to_problem(changed, outcome.request_id, outcome.file)
                continue
            answer.categories = categories
            height, width = outcome.found.image_hw
            image = CocoImage(id=image_id, width=width, height=height, file_name=outcome.file)
            answer.images.append(image)
            answer.results += _results(image_id, outcome.found)
        left_out: Any = None if answer.problems else {"problems"}
        body = answer.model_dump_json(exclude=left_out, exclude_none=True)
        return Response(body, media_type="application/json")


def _results(image_id: int, found: Answered) -> list[CocoResult]:
    result = found.result
    detections = result.detections if isinstance(result, Segments | Poses) else result
    assert isinstance(detections, Detections)
    rows = zip(
        detections.boxes_xyxy.astype(float).tolist(),
        detections.scores.astype(float).tolist(),
        detections.class_ids.tolist(),
        strict=True,
    )
    results = [
        CocoResult(
            image_id=image_id,
            category_id=class_id,
            bbox=(round(left, 3), round(top, 3), round(right - left, 3), round(bottom - top, 3)),
            score=round(score, 6),
        )
        for (left, top, right, bottom), score, class_id in rows
    ]
    if isinstance(result, Segments):
        for one, mask in zip(results, result.masks, strict=False):  # there are no masks with masks=off
            assert isinstance(mask, RleMask)  # the query refuses polygons in this format
            one.segmentation = mask
    if isinstance(result, Poses):
        for one, points in zip(results, result.keypoints.astype(float), strict=True):
            one.keypoints = points.round(3).reshape(-1).tolist()
    return results
