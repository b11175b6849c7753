"""The metric of a graph beside its checkpoint's, and the refusal of a graph that loses too much."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from tests.training_builders import diverse_images, reference_outputs, tiny_model
from training.data.images.letterbox import letterbox_image
from training.data.sample import Sample, no_boxes
from training.errors import ExportError
from training.evaluate.detections import DetectConfig
from training.evaluate.evaluator import evaluate
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.graph.export_graph import graph_contract
from training.export.proof.parity import MetricPair, Parity
from training.export.tasks.classify import CLASSIFY
from training.export.tasks.detect import DETECT
from training.export.tasks.objects import kept


@pytest.fixture(scope="module")
def model():
    return tiny_model("yolov12-n")


def by_role(model, spec, outputs):
    return graph_contract(model.config, spec).by_role(outputs)


class OwnFindings:
    """Images whose truth is what the model finds first in them."""

    class_names = ("disc", "ring")
    remarks = MappingProxyType({})
    skeleton = None

    def __init__(self, model):
        self.images = [image.numpy() for image in diverse_images(3)]
        self.model = model

    def __len__(self):
        return len(self.images)

    def load(self, index, fit=None):
        image, spec = self.images[index], GraphSpec("dense", "graph")
        canvas, _ = letterbox_image(image, (64, 64))
        outputs = reference_outputs(self.model, spec, canvas, self.model.default_controls())
        found = kept(by_role(self.model, spec, outputs), (64, 64), (64, 64), DetectConfig(max_det=3))
        return Sample(image, found.boxes_xyxy, found.class_ids, str(index))


def answers(model, spec, data, *, corner=False):
    """Yield the checkpoint's own answers, or the same corner for every box."""
    for sample in map(data.load, range(len(data))):
        canvas, _ = letterbox_image(sample.image, (64, 64))
        outputs = reference_outputs(model, spec, canvas, model.default_controls())
        if corner:
            outputs["boxes"] = np.broadcast_to(np.float32([0, 0, 6, 6]), outputs["boxes"].shape).copy()
        yield sample, by_role(model, spec, outputs)


@pytest.mark.parametrize("selection", ["graph", "service"])
def test_a_graph_that_answers_as_the_checkpoint_has_its_map_and_one_that_does_not_has_less(model, selection):
    data, spec = OwnFindings(model), GraphSpec("dense", selection)
    want = evaluate(model, data).mean_ap.map50_95
    assert want > 0.3
    same = DETECT.metric(answers(model, spec, data), data.class_names, (64, 64))
    assert same == pytest.approx(want, abs=1e-6)
    cornered = answers(model, spec, data, corner=True)
    assert DETECT.metric(cornered, data.class_names, (64, 64)) < want - 0.1


def test_top1_is_the_share_of_images_whose_likeliest_class_is_right():
    blank = Sample(np.zeros((4, 4, 3), np.uint8), no_boxes(), np.zeros(0, np.int64), "", image_class=1)
    likely = ([0.2, 0.8], [0.6, 0.4], [0.5, 0.5], [0.1, 0.9])  # of equal ones the first is the likelier
    found = [(blank, {"probabilities": np.float32([each])}) for each in likely]
    assert CLASSIFY.metric(found, ("disc", "ring"), (4, 4)) == 0.5


def test_the_golden_answer_of_a_classifier_is_its_five_likeliest_classes_best_first():
    outputs = {"probabilities": np.float32([[0.05, 0.3, 0.1, 0.3, 0.05, 0.2]])}
    answer = CLASSIFY.golden(outputs, np.zeros((4, 4, 3), np.uint8), (4, 4))
    assert answer.params == {}, "five are the task's default"
    assert answer.arrays["cls_class_ids"].tolist() == [1, 3, 5, 2, 0]
    assert answer.arrays["cls_class_ids"].dtype == np.int32
    assert answer.arrays["cls_scores"].tolist() == np.float32([0.3, 0.3, 0.2, 0.1, 0.05]).tolist()


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
