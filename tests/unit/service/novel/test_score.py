"""The score adds how rare the path is to how unsure the model is."""

from types import MappingProxyType

import numpy as np
import pytest

from service.artifact.routing_file import MeasuredRouting
from service.novel.score import Novelty, _confidence
from service.request import ResolvedParams
from service.routing.reference import Layers, Reference
from service.tasks.classify import Classes
from service.tasks.detect import Detections

CONF = 0.25  # of the tiny detector


def novelty(rank=0.5, rarity=0.4, confidence=0.9):
    return Novelty(rank, rarity, 0.0, confidence, np.zeros(2, np.float32))


def params(conf=CONF, **changes):
    fields = {"values": {"conf": conf}, "class_ids": None, "class_conf": {}, "agnostic_nms": False}
    return ResolvedParams(**{**fields, "controls": MappingProxyType({}), **changes})


def detections(*scores):
    n = len(scores)
    return Detections(np.zeros((n, 4), np.float32), np.array(scores, np.float32), np.zeros(n, np.int64))


def test_the_score_is_the_rarity_and_the_missing_confidence():
    assert novelty(rarity=1.5, confidence=0.75).score == 1.75
    assert novelty(rarity=1.5, confidence=0.0).score == 2.5
    assert novelty(rarity=1.5, confidence=None).score == 1.5


@pytest.mark.parametrize(
    ("rank", "confidence", "why"),
    [
        (0.949, 0.1, "unsure"),
        (0.949, 0.9, "unsure"),
        (0.95, 0.499, "rare-path"),
        (0.95, 0.5, "disagreement"),
        (1.0, None, "rare-path"),
    ],
)
def test_the_reason_says_which_of_the_two_is_unusual(rank, confidence, why):
    assert novelty(rank=rank, confidence=confidence).why == why


def test_the_confidence_is_that_of_the_best_prediction(artifact):
    assert _confidence(detections(0.8, 0.3), params(), artifact.manifest) == pytest.approx(0.8)
    assert _confidence(detections(), params(), artifact.manifest) == 0.0


@pytest.mark.parametrize(
    "narrow",
    [
        pytest.param({"conf": CONF + 0.01}, id="a higher confidence than the model's"),
        pytest.param({"class_ids": frozenset({1})}, id="some classes"),
        pytest.param({"class_conf": {1: 0.5}}, id="a confidence for one class"),
    ],
)
def test_a_caller_who_asks_only_for_some_predictions_does_not_make_an_image_novel(artifact, narrow):
    assert _confidence(detections(), params(**narrow), artifact.manifest) is None


def test_the_confidence_of_a_classifier_is_that_of_the_best_class(classifier):
    found = Classes(np.array([2, 0]), np.array([0.7, 0.2], np.float32))
    assert _confidence(found, params(), classifier.manifest) == pytest.approx(0.7)


def reference(images=200):
    random = np.random.default_rng(0)
    log_probs = np.log(random.dirichlet((4, 2, 1), (images, 1))).astype(np.float32)
    measured = MeasuredRouting({}, log_probs, np.ones((images, 1), np.uint64))
    layers = Layers(["p4"], [3])
    return Reference.of(measured, layers, [0]), layers.contrasts(log_probs, [0])


def test_the_rarity_is_one_where_the_farthest_twentieth_of_the_baseline_begins():
    found, contrasts = reference()
    far = np.array([found.rarity(one + 9) for one in contrasts])
    assert (far > 3).all()
    for away in np.linspace(0, 3, 40):
        image = contrasts[0] + away
        assert (found.rarity(image) > 1) == (found.ranks(image[None])[0] >= 0.95)


def test_rarity_still_grows_where_the_rank_is_one():
    found, contrasts = reference()
    near, far = contrasts.max(axis=0) + 5, contrasts.max(axis=0) + 10
    assert found.ranks(np.array([near, far])).tolist() == [1, 1]
    assert found.rarity(far) > 1.3 * found.rarity(near)


def test_a_rarity_of_one_is_a_distance_of_one_between_places():
    found, contrasts = reference()
    image = contrasts.max(axis=0) + 5
    distances = np.sort([np.linalg.norm(found.place(image) - found.place(one)) for one in contrasts])
    assert found.rarity(image) == pytest.approx(distances[2], rel=1e-4)  # the third neighbour
