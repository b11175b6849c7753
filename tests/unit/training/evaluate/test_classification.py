"""Evaluation of a classifier: centre crops, accuracy, and the experts chosen for each class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.data.small_data import MemoryDataset, sample
from training.data.evaluation import Truth
from training.data.images.center_crop import center_crop_image
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.errors import DatasetError
from training.evaluate.accuracy import Accuracy
from training.evaluate.classification import ClassEvaluation, evaluate_classes
from training.evaluate.groups import group_images
from training.evaluate.routed import RoutedImages
from training.models.classifier import Classifier
from training.models.variants import model_config
from training.tasks.classify import CLASSIFY

SCENES = open_dataset(ScenesConfig(images=6, image_hw=(64, 96), labels="class"))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Classifier(model_config("sparsight-n-cls", SCENES.class_names, (64, 64)))


def test_every_image_is_scored_on_its_centre_crop_whatever_the_batch(model):
    one, three = (evaluate_classes(model, SCENES, batch_size=size) for size in (1, 4))
    np.testing.assert_allclose(one.probabilities, three.probabilities, atol=1e-5)
    assert one.images == 6
    assert [use.layer for use in one.experts] == ["backbone.p4", "backbone.p5"]
    image = center_crop_image(SCENES.load(4).image, (64, 64))
    with torch.no_grad():
        alone = model.probabilities(model(torch.from_numpy(image.copy())[None]))
    np.testing.assert_allclose(one.probabilities[4], alone[0].numpy(), atol=1e-5)
    rights = one.probabilities.argmax(axis=1) == [0, 1, 2, 3, 4, 0]
    assert one.accuracy.top1 == rights.mean()
    assert one.routed.image_classes.tolist() == [0, 1, 2, 3, 4, 0]


def test_data_that_labels_objects_or_other_classes_is_refused(model):
    boxes = open_dataset(ScenesConfig(images=2, image_hw=(64, 64)))
    with pytest.raises(DatasetError, match="labels no image as a whole"):
        evaluate_classes(model, boxes)
    with pytest.raises(DatasetError, match="the data set labels \\['red', 'green', 'blue', 'yellow'\\]"):
        evaluate_classes(model, MemoryDataset([sample((64, 64), [], [])]))


def test_one_image_that_is_labelled_by_objects_leaves_no_classes():
    plain = sample((8, 8), [], [])
    truths = (Truth.of(replace(plain, image_class=1)), Truth.of(plain))
    assert RoutedImages(truths, {}, {}).image_classes is None
    assert RoutedImages(truths[:1], {}, {}).image_classes.tolist() == [1]
    assert RoutedImages((), {}, {}).image_classes is None


def test_images_are_grouped_by_their_class():
    (grouping,) = group_images(SCENES, np.zeros(6, np.int64), np.array([0, 2, 2, 0, 0, 2]))
    assert (grouping.name, grouping.labels) == ("class", ("disc", "fish"))
    assert grouping.ids.tolist() == [0, 1, 1, 0, 0, 1]
    assert group_images(SCENES, np.zeros(6, np.int64), np.full(6, 3)) == ()


def planted(gates):
    """Return two classes of three images each, and how a layer routed them."""
    plain = sample((8, 8), [], [])
    truths = tuple(Truth.of(replace(plain, image_class=index // 3)) for index in range(6))
    rows = np.array(gates, np.float32)
    routed = RoutedImages(truths, {"p4": rows}, {"p4": rows})
    found = Accuracy(0.75, 1.0, {"disc": 0.5, "ring": 1.0, "fish": None})
    return ClassEvaluation(routed=routed, accuracy=found, probabilities=np.zeros((6, 5), np.float32))


BY_CLASS = [[1, 0]] * 3 + [[0, 1]] * 3


def test_figures_stand_in_one_flat_line_and_the_sentence_says_them():
    scores = CLASSIFY.scores(planted(BY_CLASS), SCENES)
    assert scores == {
        "top1": 0.75,
        "top5": 1.0,
        "top1 disc": 0.5,
        "top1 ring": 1.0,
        "bits p4": pytest.approx(1),
        "sets p4": 2,
        "dead p4": 0,
        "nmi class p4": pytest.approx(1),
    }
    assert CLASSIFY.sentence(scores) == (
        "top-1 0.750, top-5 1.000; routing: 1.00 bit on average, 1 of 1 layers at 0.5 bit or more, "
        "no dead expert, NMI with class 1.00"
    )


def test_a_static_router_is_said_to_be_one():
    scores = CLASSIFY.scores(planted([[1, 0]] * 6), SCENES)
    assert CLASSIFY.sentence(scores) == (
        "top-1 0.750, top-5 1.000; routing: static, below 0.05 bit in every layer, 1 dead expert, "
        "NMI with class 0.00"
    )
