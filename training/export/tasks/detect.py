"""Detection: the outputs of its graph, its golden sample, and its mAP."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import PAD_VALUE, STRIDES, ModelConfig
from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig, Detections
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.objects.boxes import BOXES as BOXES_KIND
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import Arrays, Output
from training.export.tasks.candidates import candidate_differences
from training.export.tasks.task import Answers, ExportTask, GoldenAnswer
from training.models.detector import Detector, Predictions

# A anchors · C classes · N candidates

BOXES, SCORES, CLASS_IDS, CLASS_SCORES = "boxes_xyxy", "scores", "class_ids", "class_scores"  # roles
BOXES_NAME = "boxes"  # the names of the other outputs are their roles
CONF, IOU, MAX_DET = 0.25, 0.7, 300  # defaults of requests
CONF_FLOOR = 0.02


def _settings(spec: GraphSpec) -> dict[str, Any]:
    defaults = {"conf": CONF, "iou": IOU, "max_det": MAX_DET}
    return {"selection": spec.selection, "candidates": spec.candidates, "defaults": defaults}


def _output_rows(config: ModelConfig, spec: GraphSpec, tolerance: Tolerance) -> tuple[Output, ...]:
    height, width = config.input_hw
    anchors = sum((height // stride) * (width // stride) for stride in STRIDES)
    classes = len(config.class_names)
    found = min(spec.candidates, anchors * classes) if spec.selection == "graph" else anchors
    boxes = Output(BOXES_NAME, "f32", (found, 4), BOXES, tolerance.boxes_px, tolerance.boxes_relative)
    if spec.selection == "service":
        return boxes, Output(CLASS_SCORES, "f32", (found, classes), CLASS_SCORES, tolerance.scores)
    scores = Output(SCORES, "f32", (found,), SCORES, tolerance.scores)
    return boxes, scores, Output(CLASS_IDS, "i32", (found,), CLASS_IDS)


def _outputs(model: Detector, predictions: Predictions, spec: GraphSpec) -> tuple[Tensor, ...]:
    """Return the graph's outputs: the candidates, or every anchor if the service selects the candidates."""
    if spec.selection == "service":
        return model.decode(predictions)
    found = Candidates.select(model.decode(predictions, spec.candidates), spec.candidates)
    return found.boxes_xyxy, found.scores, found.class_ids.to(torch.int32)


def _golden(outputs: Arrays, image: NDArray[np.uint8], input_hw: tuple[int, int]) -> GoldenAnswer:
    """Return the correct detections, and the confidence threshold that they were selected with.

    The threshold lies in a gap between scores, so that rounding moves no score across the threshold.
    """
    conf = _threshold_in_a_gap(outputs[SCORES if SCORES in outputs else CLASS_SCORES])
    settings = DetectConfig(conf=CONF if conf is None else conf, iou=IOU, max_det=MAX_DET)
    found = kept(outputs, (image.shape[0], image.shape[1]), input_hw, settings)
    arrays: dict[str, NDArray[Any]] = {
        "det_boxes_xyxy": found.boxes_xyxy,
        "det_scores": found.scores,
        "det_class_ids": found.class_ids,
    }
    return GoldenAnswer(arrays, {"conf": settings.conf}, found=conf is not None)


def _map50_95(answers: Answers, class_names: Sequence[str], input_hw: tuple[int, int]) -> float:
    """Return the mAP@[.5:.95], 0..1, of a graph's outputs for the images of a data set."""
    settings = DetectConfig()
    truths, found = [], []
    for sample, outputs in answers:
        truths.append(Truth.of(sample))
        found.append(kept(outputs, truths[-1].image_hw, input_hw, settings))
    return mean_average_precision(truths, found, class_names).map50_95


def kept(
    outputs: Arrays, image_hw: tuple[int, int], input_hw: tuple[int, int], settings: DetectConfig
) -> Detections:
    """Return the detections that NMS keeps; if the graph returns every anchor, select candidates first."""
    boxes = torch.from_numpy(outputs[BOXES])
    if CLASS_SCORES in outputs:
        class_scores = torch.from_numpy(outputs[CLASS_SCORES])
        candidates = Candidates.select((boxes, class_scores), settings.candidates)
    else:
        candidates = Candidates(
            boxes, torch.from_numpy(outputs[SCORES]), torch.from_numpy(outputs[CLASS_IDS])
        )
    return BOXES_KIND.keep(candidates.of_image(0), Letterbox.fit(image_hw, input_hw), image_hw, settings)


def _threshold_in_a_gap(scores: NDArray[np.float32]) -> float | None:
    """Return the middle of the widest gap between neighbouring scores near 0.25.

    Near means from 0.15 to 0.35, or from half of the highest score if that score is below 0.3. If fewer
    than two scores are near, return half of the highest score, at most 0.175. Return None if all
    scores are below CONF_FLOOR.
    """
    falling = np.sort(scores.reshape(-1))[::-1]
    if falling[0] < CONF_FLOOR:
        return None
    high = min(0.35, float(falling[0]))
    near = falling[(falling <= high) & (falling >= min(0.15, high / 2))]
    if len(near) < 2:
        return float(high / 2)
    gaps = near[:-1] - near[1:]
    widest = int(gaps.argmax())
    return float((near[widest] + near[widest + 1]) / 2)


DETECT = ExportTask(
    resize={"mode": "letterbox", "pad_value": PAD_VALUE, "interpolation": "bilinear"},
    settings=_settings,
    output_rows=_output_rows,
    outputs=_outputs,
    differences=candidate_differences,
    counted=BOXES,
    golden=_golden,
    nothing_found=f"the model scores nothing above {CONF_FLOOR}",
    metric_name="map50_95",
    metric=_map50_95,
)
