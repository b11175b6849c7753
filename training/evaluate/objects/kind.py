"""The interface of a kind of objects: boxes, masks, keypoints or corners."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig, Detections

# N detections · M objects · R ignored regions


class ObjectKind(Protocol):
    """The selection, comparison and scoring of objects of one kind. Methods take the labels of one image."""

    @property
    def name(self) -> Literal["boxes", "masks", "keypoints", "corners"]:
        """Return the name of the kind."""

    @property
    def score(self) -> str:
        """Return the name of the metric, such as "mask mAP"."""

    @property
    def overlap(self) -> Literal["IoU", "OKS"]:
        """Return the name of what `overlaps` returns."""

    @property
    def iou_type(self) -> Literal["bbox", "segm", "keypoints"]:
        """Return the COCO API's name for this kind of evaluation."""

    def keep(
        self, candidates: Candidates, placed: Letterbox, image_hw: tuple[int, int], config: DetectConfig
    ) -> Detections:
        """Return the candidates of one image that NMS and `config` keep, in source pixels.

        Args:
            placed: where the image is in the model input.
        """

    def overlaps(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        """Return the overlap, 0..1, of each detection with each object, (N, M)."""

    def shares_ignored(self, found: Detections, truth: Truth) -> NDArray[np.float64]:
        """Return the share of each detection, 0..1, that is inside each ignored region, (N, R)."""

    def counted(self, truth: Truth) -> NDArray[np.bool_]:
        """Return whether each object counts, (M,). Detecting one that does not is neither right nor wrong."""

    def truth_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        """Return, for each object, its fields in a COCO file, except box, class and area."""

    def ignored_rows(self, truth: Truth) -> list[Mapping[str, Any]]:
        """Return, for each ignored region, its fields in a COCO file, except box, class and area."""

    def found_rows(self, found: Detections) -> list[Mapping[str, Any]]:
        """Return, for each detection, its fields in a COCO result, except class and score."""
