"""mAP of a graph beside that of its checkpoint, and what follows from a fall."""

from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np
import pytest

from tests.training_builders import diverse_images, tiny_model
from training.data.letterbox import letterbox_image
from training.data.sample import Sample
from training.errors import ExportError
from training.evaluate.detections import DetectConfig, keep_detections
from training.evaluate.evaluator import evaluate
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.proof.parity import MetricPair, Parity, reference_outputs
from training.export.tasks.detect import Detect, candidates


@pytest.fixture(scope="module")
def model():
    return tiny_model("yolov12-n")


def by_role(model, spec, outputs):
    return graph_contract(model.config, spec).by_role(outputs)


class OwnFindings:
    """Pictures whose truth is what the model finds first in them."""

    class_names = ("disc", "ring")
    remarks = MappingProxyType({})

    def __init__(self, model):
        self.images = [image.numpy() for image in diverse_images(3)]
        self.model = model

    def __len__(self):
        return len(self.images)

    def encoded(self, index):
        return cv2.imencode(".png", cv2.cvtColor(self.images[index], cv2.COLOR_RGB2BGR))[1].tobytes()

    def load(self, index):
        image, spec = self.images[index], GraphSpec("dense", "graph")
        canvas, placed = letterbox_image(image, (64, 64))
        outputs = reference_outputs(self.model, spec, canvas, self.model.default_controls())
        found = keep_detections(
            candidates(by_role(self.model, spec, outputs), 1000), placed, (64, 64), DetectConfig(max_det=3)
        )
        return Sample(image, found.boxes_xyxy, found.class_ids, str(index))


class Eager:
    """Stands in for an engine: the checkpoint's own answers, or the same corner for every box."""

    def __init__(self, model, spec, *, corner=False):
        self.model, self.spec, self.corner = model, spec, corner

    def __call__(self, canvas):
        outputs = reference_outputs(self.model, self.spec, canvas, self.model.default_controls())
        if self.corner:
            outputs["boxes"] = np.broadcast_to(np.float32([0, 0, 6, 6]), outputs["boxes"].shape).copy()
        return by_role(self.model, self.spec, outputs)


@pytest.mark.parametrize("selection", ["graph", "service"])
def test_a_graph_that_answers_as_the_checkpoint_has_its_map_and_one_that_does_not_has_less(model, selection):
    data, spec = OwnFindings(model), GraphSpec("dense", selection)
    want = evaluate(model, data).mean_ap.map50_95
    assert want > 0.3
    same = Detect().metric(Eager(model, spec), (64, 64), data)
    assert same == pytest.approx(want, abs=1e-6)
    assert Detect().metric(Eager(model, spec, corner=True), (64, 64), data) < want - 0.1


@pytest.mark.parametrize(("graph", "refused"), [(0.7, False), (0.601, False), (0.596, False), (0.594, True)])
def test_a_fall_of_more_than_half_a_point_is_refused(graph, refused):
    parity = Parity(1, 1, {}, {}, {}, tolerance=TOLERANCES["int8"])
    parity = replace(parity, metric=MetricPair("map50_95", 0.6, graph))
    if refused:
        with pytest.raises(ExportError, match=r"falls from 0\.6000 of the checkpoint to 0\.5940"):
            parity.check()
    else:
        parity.check()


def test_map_that_is_no_number_is_refused():
    with pytest.raises(ExportError, match="falls from"):
        Parity(1, 1, {}, {}, {}, metric=MetricPair("map50_95", 0.6, float("nan"))).check()
