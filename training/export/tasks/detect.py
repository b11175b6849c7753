"""Detection: what its graph returns, what its golden sample holds, and its mAP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import PAD_VALUE, STRIDES, ModelConfig
from training.data.letterbox import letterbox_image
from training.data.sample import Dataset
from training.evaluate.detections import DetectConfig, Detections, keep_detections
from training.evaluate.evaluator import evaluate_with
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import GATES, ROUTER_PROBS, Arrays, Output
from training.export.tasks.candidates import Difference, answer_differences
from training.models.detector import Detector, Predictions
from training.ops.nms import select_candidates

# A anchors · C classes · N candidates

BOXES, SCORES, CLASS_IDS, CLASS_SCORES = "boxes_xyxy", "scores", "class_ids", "class_scores"  # roles
BOXES_NAME = "boxes"  # the other outputs are called as their roles
CONF, IOU, MAX_DET = 0.25, 0.7, 300  # what a request gets that does not say
CONF_FLOOR = 0.02


class GoldenAnswer(NamedTuple):
    """What a correct server answers for the golden image, and under which parameters."""

    arrays: Mapping[str, NDArray[Any]]
    params: Mapping[str, float]


@dataclass(frozen=True)
class Detect:
    """The exporting half of task detect."""

    metric_name: ClassVar[str] = "map50_95"
    measured: ClassVar[tuple[str, ...]] = (
        BOXES,
        SCORES,
        CLASS_SCORES,
        GATES,
        ROUTER_PROBS,
    )  # class ids decide
    nothing_found: ClassVar[str] = f"the model scores nothing above {CONF_FLOOR}"
    resize: ClassVar[Mapping[str, Any]] = {
        "mode": "letterbox",
        "pad_value": PAD_VALUE,
        "interpolation": "bilinear",
    }

    def canvas(self, image: NDArray[np.uint8], input_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Return an image (H, W, 3) as the graph takes it."""
        return letterbox_image(image, input_hw)[0]

    def settings(self, spec: GraphSpec) -> dict[str, Any]:
        """Return task_settings of the manifest."""
        defaults = {"conf": CONF, "iou": IOU, "max_det": MAX_DET}
        return {"selection": spec.selection, "candidates": spec.candidates, "defaults": defaults}

    def output_rows(self, config: ModelConfig, spec: GraphSpec, tolerance: Tolerance) -> tuple[Output, ...]:
        """Return what `outputs` returns, in its order."""
        height, width = config.input_hw
        anchors = sum((height // stride) * (width // stride) for stride in STRIDES)
        classes = len(config.class_names)
        boxes = (BOXES, tolerance.boxes_px, tolerance.boxes_relative)
        if spec.selection == "graph":
            found = min(spec.candidates, anchors * classes)
            return (
                Output(BOXES_NAME, "f32", (found, 4), *boxes),
                Output(SCORES, "f32", (found,), SCORES, tolerance.scores),
                Output(CLASS_IDS, "i32", (found,), CLASS_IDS),
            )
        return (
            Output(BOXES_NAME, "f32", (anchors, 4), *boxes),
            Output(CLASS_SCORES, "f32", (anchors, classes), CLASS_SCORES, tolerance.scores),
        )

    def outputs(self, model: Detector, predictions: Predictions, spec: GraphSpec) -> tuple[Tensor, ...]:
        """Compute the outputs of the graph: candidates, or every anchor where the service selects."""
        if spec.selection == "service":
            return model.decode(predictions)
        boxes, class_scores = model.decode(predictions, spec.candidates)
        boxes, scores, class_ids = select_candidates(boxes, class_scores, spec.candidates)
        return boxes, scores, class_ids.to(torch.int32)

    def differences(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Mapping[str, Difference]:
        """Compare two answers for one image, both by role."""
        return answer_differences(want, got, tolerance)

    def compared(self, found: Mapping[str, Difference]) -> int:
        """Return how many boxes scored enough to be compared."""
        return found[BOXES].compared

    def golden(self, outputs: Arrays, image: NDArray[np.uint8], hw: tuple[int, int]) -> GoldenAnswer | None:
        """Return what a server makes of outputs (by role, of one image); None if nothing is found."""
        conf = _threshold_in_a_gap(_all_scores(outputs))
        if conf is None:
            return None
        placed = letterbox_image(image, hw)[1]
        settings = DetectConfig(conf=conf, iou=IOU, max_det=MAX_DET)
        found = keep_detections(candidates(outputs, settings.candidates), placed, image.shape[:2], settings)
        arrays: dict[str, NDArray[Any]] = {
            "det_boxes_xyxy": found.boxes_xyxy,
            "det_scores": found.scores,
            "det_class_ids": found.class_ids,
        }
        return GoldenAnswer(arrays, {"conf": conf})

    def metric(
        self,
        run: Callable[[NDArray[np.uint8]], Arrays],
        input_hw: tuple[int, int],
        dataset: Dataset,
        *,
        quiet: bool = True,
    ) -> float:
        """Return mAP@[.5:.95], 0..1, of a graph.

        Args:
            run: from a canvas (H, W, 3) to its outputs by role.

        Raises:
            DatasetError: an image cannot be loaded.
        """
        settings = DetectConfig()

        def detect(encoded: bytes) -> Detections:
            image = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
            assert image is not None  # the data set has just loaded it
            canvas, placed = letterbox_image(image.astype(np.uint8, copy=False), input_hw)
            found = candidates(run(canvas), settings.candidates)
            return keep_detections(found, placed, (image.shape[0], image.shape[1]), settings)

        return evaluate_with(detect, dataset)[0].map50_95


def candidates(outputs: Arrays, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best candidates of one image, selected by the graph or, if it returns every anchor, here.

    Args:
        outputs: by role.
        limit: N of those that are selected here.
    """
    boxes = torch.from_numpy(outputs[BOXES])
    if CLASS_SCORES in outputs:
        class_scores = torch.from_numpy(outputs[CLASS_SCORES])
        boxes, scores, ids = select_candidates(boxes, class_scores, limit)
    else:
        scores, ids = torch.from_numpy(outputs[SCORES]), torch.from_numpy(outputs[CLASS_IDS])
    return boxes[0], scores[0], ids[0].long()


def _all_scores(outputs: Arrays) -> NDArray[np.float32]:
    scores = outputs[SCORES] if SCORES in outputs else outputs[CLASS_SCORES]
    return np.sort(scores.reshape(-1))[::-1]


def _threshold_in_a_gap(falling: NDArray[np.float32]) -> float | None:
    """Return a confidence near 0.25 in the widest gap of scores, so that rounding moves none across it."""
    if falling[0] < CONF_FLOOR:
        return None
    high = min(0.35, float(falling[0]))
    near = falling[(falling <= high) & (falling >= min(0.15, high / 2))]
    if len(near) < 2:
        return float(high / 2)
    gaps = near[:-1] - near[1:]
    widest = int(gaps.argmax())
    return float((near[widest] + near[widest + 1]) / 2)
