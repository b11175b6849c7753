"""Draw the predictions for an image into the image, in the same way as clients draw the JSON answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.pipeline.image_drawing import Image, Objects, draw_classes, draw_objects
from service.pipeline.rle import decode_rle
from service.request import RequestContext
from service.tasks.choose import Result, task_of
from service.tasks.classify import Classes
from service.tasks.detect import Prediction
from service.tasks.obb import OrientedPrediction
from service.tasks.pose import PosePrediction, Poses, skeleton_of
from service.tasks.segment import RleMask, Segments


def draw(image: Image, result: Result, manifest: Manifest, context: RequestContext) -> None:
    """Draw the predictions for an image into its pixels: the objects, or the classes in a corner.

    The drawing uses the rounded coordinates and confidences of the JSON answer.

    Args:
        image: (H, W, 3) RGB, contiguous; it is changed.
        result: the result for this image; its masks, if any, must be RLE.
        manifest: manifest of the model that gave the result.
        context: context of the request.

    Raises:
        DeadlineExceeded: the deadline passed between two masks.
    """
    predictions = task_of(manifest).describe(result)
    class_ids = [one.class_id for one in predictions]
    texts = [f"{one.class_name} {float(np.float32(one.confidence)):.2f}" for one in predictions]
    if isinstance(result, Classes):
        draw_classes(image, class_ids, texts)
        return

    def mask(row: int) -> NDArray[np.bool_]:
        context.left_s()  # a thread cannot be cancelled, and large masks take seconds
        rle = predictions[row].mask
        assert isinstance(rle, RleMask)
        return decode_rle(rle.counts, rle.size)

    objects = Objects(
        corners=np.array([_corners(one) for one in predictions], dtype=np.float32).reshape(-1, 4, 2),
        class_ids=class_ids,
        texts=texts,
        mask=mask if isinstance(result, Segments) and result.masks else None,
        keypoints=_keypoints(predictions) if isinstance(result, Poses) else None,
        skeleton=skeleton_of(manifest) or (),
    )
    draw_objects(image, objects)


def _corners(one: Prediction) -> list[tuple[float, float]]:
    if isinstance(one, OrientedPrediction):
        return one.corners
    left, right = one.x - one.width / 2, one.x + one.width / 2
    top, bottom = one.y - one.height / 2, one.y + one.height / 2
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _keypoints(poses: Sequence[PosePrediction]) -> NDArray[np.float32]:
    rows: Any = [[(point.x, point.y, point.confidence) for point in one.keypoints] for one in poses]
    return np.array(rows, dtype=np.float32)
