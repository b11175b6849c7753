"""The golden sample: one picture and everything a correct server makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.letterbox import letterbox_image
from training.errors import ExportError
from training.evaluate.detections import DetectConfig, keep_detections
from training.export.graph.export_graph import GraphSpec
from training.export.proof.accuracy import candidates
from training.export.proof.engine import Engine
from training.export.proof.margin import router_margin
from training.models.detector import Detector

CONF_FLOOR = 0.02


@dataclass(frozen=True)
class Golden:
    """Arrays for golden.npz and the facts the manifest records of them."""

    arrays: Mapping[str, NDArray[Any]]
    conf: float
    router_margin: float | None


def make_golden(
    model: Detector,
    engine: Engine,
    spec: GraphSpec,
    pictures: Sequence[NDArray[np.uint8]],
    iou_max_det: tuple[float, int],
) -> Golden:
    """Run the pictures through the exported graph and keep the one whose routing is farthest from a tie.

    Raises:
        ExportError: the model finds nothing in any of them, so that a replay would prove nothing.
    """
    controls = model.default_controls()
    experts = [len(layer.experts) for layer in model.mixture_layers().values()]
    best: Golden | None = None
    for picture in pictures:
        canvas, placed = letterbox_image(picture, model.config.input_hw)
        outputs = engine.run(canvas, controls)
        conf = _threshold_in_a_gap(_all_scores(outputs))
        if conf is None:
            continue
        margin = router_margin(outputs, experts, controls) if experts else None
        if best is None or (margin or 0) > (best.router_margin or 0):
            found = keep_detections(
                candidates(outputs, spec),
                placed,
                picture.shape[:2],
                DetectConfig(
                    conf=conf, iou=iou_max_det[0], max_det=iou_max_det[1], candidates=spec.candidates
                ),
            )
            arrays = {
                "image": picture,
                "input": canvas[None],
                **outputs,
                "det_boxes_xyxy": found.boxes_xyxy,
                "det_scores": found.scores,
                "det_class_ids": found.class_ids,
            }
            best = Golden(arrays, conf, margin)
    if best is None:
        raise ExportError(
            f"the model scores nothing above {CONF_FLOOR} in any of {len(pictures)} golden pictures, "
            "so a server could not prove that it reproduces it; train it longer"
        )
    return best


def _all_scores(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    scores = outputs["scores"] if "scores" in outputs else outputs["class_scores"]
    return np.sort(scores.reshape(-1))[::-1]


def _threshold_in_a_gap(falling: NDArray[np.float32]) -> float | None:
    """A confidence near 0.25 in the widest gap between scores, so that rounding moves none across it."""
    if falling[0] < CONF_FLOOR:
        return None
    high = min(0.35, float(falling[0]))
    near = falling[(falling <= high) & (falling >= min(0.15, high / 2))]
    if len(near) < 2:
        return float(high / 2)
    gaps = near[:-1] - near[1:]
    widest = int(gaps.argmax())
    return float((near[widest] + near[widest + 1]) / 2)
