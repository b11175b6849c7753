"""mAP of an exported graph on a data set, to hold beside the checkpoint's own."""

import cv2
import numpy as np
import torch

from training.config import ModelConfig
from training.data.letterbox import letterbox_image
from training.data.sample import Dataset
from training.evaluate.detections import DetectConfig, Detections, keep_detections
from training.evaluate.evaluator import evaluate_with
from training.export.graph.export_graph import GraphSpec
from training.export.proof.differences import Outputs
from training.export.proof.engine import Engine
from training.models.mixture.routing import RoutingControls
from training.ops.nms import select_candidates


def graph_map50_95(
    engine: Engine, spec: GraphSpec, config: ModelConfig, dataset: Dataset, *, quiet: bool = True
) -> float:
    """mAP@[.5:.95], 0..1, of the graph under the model's own controls.

    Raises:
        DatasetError: a picture cannot be loaded.
    """
    controls = RoutingControls(config.top_k, config.weight_threshold)
    settings = DetectConfig()

    def detect(encoded: bytes) -> Detections:
        image = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
        assert image is not None  # the data set has just loaded it
        canvas, placed = letterbox_image(image.astype(np.uint8, copy=False), config.input_hw)
        found = candidates(engine.run(canvas, controls), spec)
        return keep_detections(found, placed, (image.shape[0], image.shape[1]), settings)

    return evaluate_with(detect, dataset, quiet=quiet)[0].map50_95


def candidates(outputs: Outputs, spec: GraphSpec) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best candidates of one image, selected by the graph or, if it returns every anchor, here."""
    if spec.selection == "graph":
        boxes, scores, ids = (torch.from_numpy(outputs[name]) for name in ("boxes", "scores", "class_ids"))
    else:
        boxes, class_scores = (torch.from_numpy(outputs[name]) for name in ("boxes", "class_scores"))
        boxes, scores, ids = select_candidates(boxes, class_scores, spec.candidates)
    return boxes[0], scores[0], ids[0].long()
