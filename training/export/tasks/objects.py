"""What detection, segmentation, pose and oriented boxes have in common: outputs, golden sample and mAP."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from training.evaluate.objects.kind import ObjectKind
from training.export.contract.precision import Tolerance
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import Arrays, Output
from training.export.tasks.candidates import Pairs, candidate_differences, pair_candidates
from training.export.tasks.task import Answers, Difference, ExportTask, GoldenAnswer
from training.models.detector import Detector, Predictions

# N rows of candidates: anchors or selected candidates · M detections

BOXES, SCORES, CLASS_IDS, CLASS_SCORES = "boxes_xyxy", "scores", "class_ids", "class_scores"  # roles
PROTOTYPES = "prototypes"  # role
EXTRAS = ("mask_coefficients", "keypoints", "angles")  # roles, of one task each
BOXES_NAME = "boxes"  # the names of the other outputs are their roles
CONF, IOU, MAX_DET = 0.25, 0.7, 300  # defaults of requests
CONF_FLOOR = 0.02

FurtherRows = Callable[[ModelConfig, int, Tolerance], tuple[Output, ...]]
FurtherArrays = Callable[[Detections, tuple[int, int]], Mapping[str, NDArray[Any]]]
Compare = Callable[[Arrays, Arrays, Pairs, Tolerance], Mapping[str, Difference]]


def object_task(
    kind: ObjectKind,
    *,
    settings: Mapping[str, Any] | None = None,
    rows: FurtherRows = lambda config, count, tolerance: (),
    compare: Compare = lambda want, got, pairs, tolerance: {},
    further_limits: Callable[[Tolerance], Mapping[str, float]] = lambda tolerance: {},
    arrays: FurtherArrays = lambda found, image_hw: {},
) -> ExportTask:
    """Return the ExportTask of a task that finds objects.

    Every such task has the outputs and settings of detection; the arguments add further ones.

    Args:
        kind: how the objects are kept and scored.
        settings: further task_settings of the manifest.
        rows: returns the further outputs, for N rows of candidates.
        compare: returns the differences of the further outputs, over pairs of rows.
        further_limits: the same as in ExportTask.
        arrays: returns the further arrays of golden.npz for the detections in an image.
    """

    def of_manifest(spec: GraphSpec) -> dict[str, Any]:
        defaults = {"conf": CONF, "iou": IOU, "max_det": MAX_DET}
        common = {"selection": spec.selection, "candidates": spec.candidates, "defaults": defaults}
        return common | dict(settings or {})

    def output_rows(config: ModelConfig, spec: GraphSpec, tolerance: Tolerance) -> tuple[Output, ...]:
        common = _box_rows(config, spec, tolerance)
        return *common, *rows(config, common[0].sizes[0], tolerance)

    def differences(want: Arrays, got: Arrays, tolerance: Tolerance) -> Mapping[str, Difference]:
        pairs = pair_candidates(want, got, tolerance)
        found = candidate_differences(want, got, pairs, tolerance)
        return {**found, **compare(want, got, pairs, tolerance)}

    return ExportTask(
        resize={"mode": "letterbox", "pad_value": PAD_VALUE, "interpolation": "bilinear"},
        settings=of_manifest,
        output_rows=output_rows,
        outputs=_outputs,
        differences=differences,
        further_limits=further_limits,
        counted=BOXES,
        golden=partial(_golden, kind, arrays),
        nothing_found=f"the model scores nothing above {CONF_FLOOR}",
        metric_name="map50_95",
        metric=partial(_map50_95, kind),
    )


def _golden(
    kind: ObjectKind,
    further: FurtherArrays,
    outputs: Arrays,
    image: NDArray[np.uint8],
    input_hw: tuple[int, int],
) -> GoldenAnswer:
    """Return the correct answer for the golden image, at a threshold that lies in a gap between scores."""
    conf = _threshold_in_a_gap(outputs[SCORES if SCORES in outputs else CLASS_SCORES])
    thresholds = DetectConfig(conf=CONF if conf is None else conf, iou=IOU, max_det=MAX_DET)
    image_hw = (image.shape[0], image.shape[1])
    found = kept(outputs, image_hw, input_hw, thresholds, kind)
    answer: dict[str, NDArray[Any]] = {
        "det_boxes_xyxy": found.boxes_xyxy,
        "det_scores": found.scores,
        "det_class_ids": found.class_ids,
        **further(found, image_hw),
    }
    return GoldenAnswer(answer, {"conf": thresholds.conf}, found=conf is not None)


def _map50_95(
    kind: ObjectKind, answers: Answers, class_names: Sequence[str], input_hw: tuple[int, int]
) -> float:
    """Return the mAP@[.5:.95], 0..1, of a graph's outputs for a data set; objects are scored as in `kind`."""
    truths, found = [], []
    for sample, outputs in answers:
        truths.append(Truth.of(sample))
        found.append(kept(outputs, truths[-1].image_hw, input_hw, DetectConfig(), kind))
    return mean_average_precision(truths, found, class_names, kind).map50_95


def kept(
    outputs: Arrays,
    image_hw: tuple[int, int],
    input_hw: tuple[int, int],
    settings: DetectConfig,
    kind: ObjectKind = BOXES_KIND,
) -> Detections:
    """Return the detections that NMS keeps; if the graph returns every anchor, select candidates first.

    Args:
        outputs: the outputs for one image, by role.
        kind: which objects the model finds.
    """
    extras = next((torch.from_numpy(outputs[role]) for role in EXTRAS if role in outputs), None)
    prototypes = torch.from_numpy(outputs[PROTOTYPES]) if PROTOTYPES in outputs else None
    boxes = torch.from_numpy(outputs[BOXES])
    if CLASS_SCORES in outputs:
        class_scores = torch.from_numpy(outputs[CLASS_SCORES])
        decoded = (boxes, class_scores) if extras is None else (boxes, class_scores, extras)
        candidates = Candidates.select(decoded, settings.candidates, prototypes)
    else:
        scores, class_ids = torch.from_numpy(outputs[SCORES]), torch.from_numpy(outputs[CLASS_IDS])
        candidates = Candidates(boxes, scores, class_ids, extras, prototypes)
    return kind.keep(candidates.of_image(0), Letterbox.fit(image_hw, input_hw), image_hw, settings)


def _box_rows(config: ModelConfig, spec: GraphSpec, tolerance: Tolerance) -> tuple[Output, ...]:
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
    """Return the graph's outputs: the candidates, or every anchor if the service selects the candidates.

    Prototypes are float16, because they are the largest output of a graph.
    """
    prototypes = () if predictions.prototypes is None else (predictions.prototypes.half(),)
    if spec.selection == "service":
        return *model.decode(predictions), *prototypes
    found = Candidates.select(model.decode(predictions, spec.candidates), spec.candidates)
    extras = () if found.extras is None else (found.extras,)
    return found.boxes_xyxy, found.scores, found.class_ids.to(torch.int32), *extras, *prototypes


def _threshold_in_a_gap(scores: NDArray[np.float32]) -> float | None:
    """Return the middle of the widest gap between neighbouring scores near 0.25.

    With this threshold, rounding moves no score of the golden sample across the threshold. Scores are near
    0.25 if they are between 0.15 and 0.35. If the highest score is below 0.3, the lower limit is half of the
    highest score. If fewer than two scores are near, return half of the highest score, at most 0.175. Return
    None if all scores are below CONF_FLOOR.
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
