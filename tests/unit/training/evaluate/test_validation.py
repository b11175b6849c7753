"""The records and log messages of a validation."""

import numpy as np
import pytest

from tests.training_builders import mean_ap
from training.data.evaluation import Truth
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.evaluate.evaluator import Evaluation
from training.evaluate.routed import RoutedImages
from training.tasks.detect import DETECT

MEAN_AP = mean_ap(0.25, 0.5, 0.3)
SCENES = open_dataset(ScenesConfig(images=6, image_hw=(64, 64)))


def evaluation(boxes_per_image, **gates):
    truths = tuple(
        Truth(np.zeros((boxes, 4), np.float32), np.zeros(boxes, np.int64), (64, 64), "")
        for boxes in boxes_per_image
    )
    gates = {layer: np.array(rows, np.float32) for layer, rows in gates.items()}
    return Evaluation(routed=RoutedImages(truths, gates, gates), mean_ap=MEAN_AP)


BY_ORIGIN = np.eye(3)[np.arange(6) % 3]
STATIC = [[0.5, 0.5, 0]] * 6
BY_DENSITY = [1, 1, 1, 9, 9, 9]  # of which each origin has one of each


def test_figures_of_every_layer_stand_in_one_flat_line():
    scores = DETECT.scores(evaluation(BY_DENSITY, p4=BY_ORIGIN, p5=STATIC), SCENES)
    assert scores == {
        "mAP50": 0.5,
        "mAP50-95": 0.25,
        "bits p4": pytest.approx(np.log2(3)),
        "sets p4": 3,
        "dead p4": 0,
        "nmi origin p4": pytest.approx(1),
        "nmi density p4": pytest.approx(0, abs=1e-12),
        "bits p5": 0,
        "sets p5": 1,
        "dead p5": 1,
        "nmi origin p5": 0,
        "nmi density p5": 0,
    }


@pytest.mark.parametrize(
    ("result", "words"),
    [
        pytest.param(
            evaluation(BY_DENSITY, p4=BY_ORIGIN, p5=STATIC),
            "; routing: 0.79 bit on average, 1 of 2 layers at 0.5 bit or more, 1 dead expert, "
            "NMI with origin 0.50, NMI with density 0.00",
            id="one of two",
        ),
        pytest.param(
            evaluation([2] * 6, p4=BY_ORIGIN),
            "; routing: 1.58 bit on average, 1 of 1 layers at 0.5 bit or more, no dead expert, "
            "NMI with origin 1.00",
            id="no groups of density",
        ),
        pytest.param(
            evaluation([2] * 6, p4=STATIC, p5=STATIC),
            "; routing: static, below 0.05 bit in every layer, 2 dead experts, NMI with origin 0.00",
            id="static",
        ),
        pytest.param(evaluation(BY_DENSITY), "", id="no mixture"),
    ],
)
def test_the_sentence(result, words):
    sentence = DETECT.sentence(DETECT.scores(result, SCENES))
    assert sentence == f"mAP50 0.500, mAP50-95 0.250{words}"
