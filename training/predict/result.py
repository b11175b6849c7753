"""The result of one image: objects or classes, the experts that ran, and a drawing of both."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.augmentation.shapes import boxes_around
from training.data.masks import Mask
from training.errors import ConfigError

# N objects, or best classes of a classifier · E experts of a layer · P keypoints of an object

SEEN = 0.5  # smallest visibility at which a keypoint is drawn, and written to label files

LISTED = 6  # objects that a representation lists by score


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """What a model found in one image: the objects or classes, highest score first, and the experts."""

    name: str  # of the image
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    boxes_xyxy: NDArray[np.float32] | None  # (N, 4) left, top, right, bottom in pixels; None: of a classifier
    scores: NDArray[np.float32]  # (N,) 0..1
    class_ids: NDArray[np.int64]  # (N,)
    model_classes: tuple[str, ...]  # names of all classes of the model
    routings: Mapping[
        str, tuple[NDArray[Any], NDArray[Any]]
    ]  # by layer: gates and router probabilities, (E,)
    seconds: float  # time of the model, without reading the image
    path: tuple[int, float] | None = None  # of a model with paths: number of the image's path, probability
    masks: tuple[Mask, ...] | None = None  # N, in source pixels
    keypoints: NDArray[np.float32] | None = None  # (N, P, 3) x, y in source pixels, visibility 0..1
    keypoint_names: tuple[str, ...] = ()  # P
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a drawing connects
    # (N, 4, 2) of oriented boxes in source pixels, clockwise; before the rotation, the first is the upper
    # left one. They stand for the boxes then, and boxes_xyxy only shows that the result is no classifier's.
    corners: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def class_names(self) -> list[str]:
        """Return the class name of each object, (N,)."""
        return [self.model_classes[class_id] for class_id in self.class_ids]

    @property
    def experts(self) -> dict[str, dict[int, float]]:
        """Return the weight of each expert that ran, by layer and expert, with the highest weight first."""
        found = {}
        for layer, (gates, _) in self.routings.items():
            order = np.argsort(-gates, kind="stable")
            found[layer] = {int(expert): float(gates[expert]) for expert in order if gates[expert] > 0}
        return found

    @property
    def extents_xyxy(self) -> NDArray[np.float32]:
        """Return the boxes, (N, 4) in pixels; for oriented boxes, the smallest upright boxes around them."""
        if self.corners is not None:
            return boxes_around(self.corners)
        return np.zeros((0, 4), dtype=np.float32) if self.boxes_xyxy is None else self.boxes_xyxy

    def plot(self, *, experts: bool = True) -> NDArray[np.uint8]:
        """Return an RGB image (H, W, 3) with the objects, or a classifier's best classes, drawn on it.

        Args:
            experts: add rows under the image that show which experts ran, one row for each mixture layer.
        """
        from training.predict.draw import draw

        return draw(self, experts=experts)

    def to_supervision(self) -> Any:
        """Return the objects as supervision.Detections or KeyPoints, or the classes as Classifications.

        Masks are in `mask`, (N, H, W) bool. Corners of oriented boxes are in `data["xyxyxyxy"]`, (N, 4, 2),
        where supervision's OrientedBoxAnnotator looks for them. KeyPoints has no boxes; its `data["score"]`
        holds the scores of the objects.

        Raises:
            ConfigError: the package supervision is not installed.
        """
        try:
            supervision: Any = import_module("supervision")
        except ImportError as error:
            raise ConfigError(
                f"to_supervision needs supervision ({error}): pip install supervision"
            ) from error
        if self.boxes_xyxy is None:
            return supervision.Classifications(class_id=self.class_ids, confidence=self.scores)
        data: dict[str, Any] = {"class_name": np.array(self.class_names, dtype=str)}
        if self.keypoints is not None:
            data["score"] = self.scores
            points, visibility = self.keypoints[..., :2], self.keypoints[..., 2]
            # By position, since supervision 0.29 gives the third argument another name.
            return supervision.KeyPoints(points, self.class_ids, visibility, data=data)
        if self.corners is not None:
            data["xyxyxyxy"] = self.corners
        more = {}
        if self.masks is not None:
            hw = (self.image.shape[0], self.image.shape[1])
            more["mask"] = np.array([mask.on(hw) for mask in self.masks], dtype=bool).reshape(-1, *hw)
        return supervision.Detections(
            xyxy=self.extents_xyxy, confidence=self.scores, class_id=self.class_ids, data=data, **more
        )

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        if self.boxes_xyxy is None:
            what = "likeliest classes"
        else:
            counts = Counter(self.class_names).most_common()
            what = ", ".join(f"{count} {name}" for name, count in counts) or "no objects"
        listed = zip(self.class_names[:LISTED], self.scores, strict=False)
        scored = ", ".join(f"{name} {score:.2f}" for name, score in listed)
        more = ", …" if len(self) > LISTED else ""
        lines = [f"{self.name}, {width} x {height} pixels: {what}" + (f" ({scored}{more})" if scored else "")]
        if self.path is not None:
            lines.append(f"  path {self.path[0]} ({self.path[1]:.0%})")
        for layer, ran in self.experts.items():
            lines.append(f"  {layer}: {', '.join(f'expert {e} {w:.0%}' for e, w in ran.items()) or 'none'}")
        return "\n".join(lines)

    def _repr_png_(self) -> bytes:
        """Return the drawing as PNG, which notebooks show."""
        from training.predict.draw import encode

        return encode(self.plot(), ".png")
