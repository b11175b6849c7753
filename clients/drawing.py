"""Draw the objects or classes of an answer into their image."""

import numpy as np
from numpy.typing import NDArray

from .image_drawing import Image, Objects, draw_classes, draw_objects
from .tasks.boxes import Detections
from .tasks.classify import Classification
from .tasks.obb import OrientedDetections
from .tasks.pose import Poses
from .tasks.segment import Segments


def draw(image: Image, found: Detections | Classification) -> Image:
    """Return a copy of an image into which the objects that were found, or the classes, are drawn.

    Classes are written into a corner. The service makes the same drawing for `format=jpeg`.

    Args:
        image: (H, W, 3) RGB; its size must be that of the image in the call.
        found: the result of `detect`, `segment`, `pose`, `detect_oriented` or `classify`.

    Raises:
        ValueError: the image has another size, or a mask cannot be read.
    """
    if image.shape[:2] != found.image_hw:
        raise ValueError(f"the image of {image.shape[:2]} pixels is not the one of {found.image_hw}")
    drawn = np.array(image, order="C")
    texts = [f"{one.class_name} {one.score:.2f}" for one in found]
    if isinstance(found, Classification):
        draw_classes(drawn, found.class_ids.tolist(), texts)
    else:
        draw_objects(drawn, _objects(found, texts))
    return drawn


def _objects(found: Detections, texts: list[str]) -> Objects:
    segments = found if isinstance(found, Segments) and found.encoded_masks is not None else None
    poses = found if isinstance(found, Poses) else None
    return Objects(
        corners=_corners(found),
        class_ids=found.class_ids.tolist(),
        texts=texts,
        mask=None if segments is None else segments.mask,
        keypoints=None if poses is None else np.dstack([poses.keypoints, poses.keypoint_scores]),
        skeleton=() if poses is None else poses.skeleton,
    )


def _corners(found: Detections) -> NDArray[np.float32]:
    if isinstance(found, OrientedDetections):
        return found.corners
    corners: NDArray[np.float32] = found.boxes_xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    return corners
