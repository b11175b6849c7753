"""Objects as keypoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.evaluate.objects.boxes import coco_boxes, keep_boxes

# N detections · M objects · R ignored regions · P keypoints


@dataclass(frozen=True)
class Keypoints:
    """Objects as keypoints. kind.ObjectKind documents the attributes and methods."""

    sigmas: tuple[float, ...]  # (P,) spread of correct labels

    name: ClassVar[Literal["keypoints"]] = "keypoints"
    score: ClassVar[str] = "OKS mAP"
    overlap: ClassVar[Literal["OKS"]] = "OKS"
    iou_type: ClassVar[Literal["keypoints"]] = "keypoints"

    def keep(
        self, candidates: Candidates, placed: Letterbox, image_hw: tuple[int, int], config: DetectConfig
    ) -> Detections:
        """Return the detections; keypoints can be outside the image."""
        found, kept = keep_boxes(candidates, placed, image_hw, config)
        assert kept.extras is not None
        keypoints = kept.extras.numpy().copy()
        keypoints[..., :2] = placed.points_to_source(keypoints[..., :2])
        return Detections(found.boxes_xyxy, found.scores, found.class_ids, keypoints=keypoints)

    def overlaps(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        """Return the OKS. An object without labelled keypoints is treated like an ignored region."""
        assert truth.keypoints is not None
        return self._oks(found, truth.keypoints, truth.boxes_xyxy, truth.object_areas)

    def shares_ignored(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        """Return the OKS with each ignored region, as the COCO API defines it.

        The distances are measured from the region's box, enlarged as in `_oks`.
        """
        regions = truth.ignored_xyxy
        nowhere = np.zeros((len(regions), len(self.sigmas), 3), dtype=np.float32)
        return self._oks(found, nowhere, regions, coco_boxes(regions)[:, 2:].prod(axis=1))

    def counted(self, truth: Truth) -> NDArray[np.bool_]:
        """Return for each object whether any of its keypoints is labelled, (M,)."""
        assert truth.keypoints is not None
        return np.asarray((truth.keypoints[..., 2] > 0).any(axis=1))

    def truth_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        """Return the rows; the COCO API does not count rows without labelled keypoints."""
        assert truth.keypoints is not None
        return [
            {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
            for points in truth.keypoints.astype(np.float64)
        ]

    def ignored_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        """Return rows without labelled keypoints."""
        nowhere = {"keypoints": [0.0] * 3 * len(self.sigmas), "num_keypoints": 0}
        return [nowhere] * len(truth.ignored_xyxy)

    def found_rows(self, found: Detections) -> list[Mapping[str, Any]]:
        """Return rows of keypoints; the COCO API ignores the visibility of detections."""
        assert found.keypoints is not None
        return [{"keypoints": points.ravel().tolist()} for points in found.keypoints.astype(np.float64)]

    def _oks(
        self,
        found: Detections,
        keypoints: NDArray[np.float32],
        boxes_xyxy: NDArray[np.float32],
        areas: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the object keypoint similarity (N, M) of detections and labels, as the COCO API computes it.

        If a label has no labelled keypoints, the distance of a point is its distance from the label's box,
        extended by the box's size in all four directions.

        Source: https://cocodataset.org/#keypoints-eval.
        """
        assert found.keypoints is not None
        points = found.keypoints[:, None, :, :2].astype(np.float64)
        labelled = keypoints[None, :, :, 2] > 0  # (1, M, P)
        offsets = points - keypoints[None, :, :, :2]
        sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
        low, high = boxes_xyxy[:, :2] - sizes, boxes_xyxy[:, 2:] + sizes
        outside = np.maximum(0, low[None, :, None] - points) + np.maximum(0, points - high[None, :, None])
        none_labelled = ~labelled.any(axis=-1, keepdims=True)
        squared = np.where(none_labelled, np.square(outside).sum(-1), np.square(offsets).sum(-1))
        spread = np.square(2 * np.asarray(self.sigmas))
        similarity = np.exp(-squared / (2 * spread * (areas[None, :, None] + np.spacing(1))))
        counted = labelled | none_labelled
        return np.asarray((similarity * counted).sum(-1) / np.maximum(counted.sum(-1), 1))
