"""Tasks: the targets that each makes from samples, and the data that it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.data.small_data import MemoryDataset, sample, with_regions
from training.config import TASKS, LossConfig, ModelConfig, TrainConfig
from training.data.loading.batch import BoxBatch, ClassBatch
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.errors import ConfigError, DatasetError
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.tasks.choose import task_named
from training.tasks.classify import CLASSIFY
from training.tasks.detect import DETECT


def whole(image_hw, image_class, name="made"):
    return replace(sample(image_hw, [], [], name), image_class=image_class)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_bears_the_name_it_is_asked_for_by(name):
    assert task_named(name).name == name


def test_a_task_that_there_is_not_names_those_there_are():
    with pytest.raises(ConfigError, match="no task 'depth'; there are: detect, classify, segment, pose, obb"):
        task_named("depth")


@pytest.mark.parametrize(("name", "network"), [("detect", Detector), ("classify", Classifier)])
def test_a_task_builds_its_network_and_learns_from_its_scenes(name, network):
    task = task_named(name)
    model = task.build(ModelConfig(class_names=("a", "b"), input_hw=(64, 64), task=name))
    assert type(model) is network
    task.check_labels(open_dataset(ScenesConfig(images=1, image_hw=(64, 64), labels=task.scene_labels)))


def test_a_detector_does_not_learn_from_classes_of_images():
    with pytest.raises(DatasetError, match="but a detector learns boxes: use a variant"):
        DETECT.check_labels(MemoryDataset([whole((8, 8), 1)]))
    DETECT.check_labels(MemoryDataset([sample((8, 8), [], [])]))


def test_a_classifier_does_not_learn_from_boxes():
    with pytest.raises(DatasetError, match="learns one class for each image: give a folder"):
        CLASSIFY.check_labels(MemoryDataset([sample((8, 8), [], [])]))
    CLASSIFY.check_labels(MemoryDataset([whole((8, 8), 0)]))


def test_a_batch_of_a_detector_names_the_image_of_each_object():
    two = [sample((64, 64), [[0, 0, 9, 9]] * count, [count] * count) for count in (1, 2)]
    batch = DETECT.collate([with_regions(two[0], [[1, 2, 3, 4]]), two[1]])
    assert isinstance(batch, BoxBatch)
    assert batch.images.shape == (2, 64, 64, 3)
    assert batch.image_ids.tolist() == [0, 1, 1]
    assert batch.ignored_image_ids.tolist() == [0]


def test_a_batch_of_a_classifier_has_a_class_for_each_image():
    batch = CLASSIFY.collate([whole((64, 64), 2), whole((64, 64), 0)])
    assert isinstance(batch, ClassBatch)
    assert batch.class_ids.tolist() == [2, 0]
    assert torch.equal(batch.to("cpu").class_ids, batch.class_ids)


@pytest.mark.parametrize(
    ("source_hw", "kept_hw"),
    [
        pytest.param((480, 960), (96, 192), id="large: 1.5 times the canvas"),
        pytest.param((96, 500), (96, 500), id="at the limit"),
        pytest.param((97, 97), (96, 96), id="just over it"),
        pytest.param((20, 30), (20, 30), id="small: as it is"),
    ],
)
def test_a_classifier_keeps_images_little_larger_than_its_canvas(source_hw, kept_hw):
    once = CLASSIFY.scale(whole(source_hw, 1), (64, 64))
    assert once.image.shape[:2] == kept_hw
    assert CLASSIFY.scale(once, (64, 64)).image is once.image, "twice changes nothing more"
    assert once.image_class == 1


def test_a_classifier_s_sample_is_on_the_canvas_and_keeps_its_class():
    noise = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    dataset = MemoryDataset([replace(whole((50, 80), 3), image=noise)])
    config = TrainConfig(
        model=ModelConfig(class_names=("a",), input_hw=(64, 96), task="classify"), train_data=ScenesConfig()
    )
    first, same, other = (
        CLASSIFY.augment(dataset, 0, np.random.default_rng(seed), config, epoch=0) for seed in (1, 1, 2)
    )
    assert first.image.shape == (64, 96, 3)
    assert first.image_class == 3
    np.testing.assert_array_equal(first.image, same.image)
    assert (first.image != other.image).any()


def test_classification_smooths_labels_and_leaves_the_routers_losses_to_the_family():
    family = LossConfig(balance=0.0, information=0.5, coverage=0.1)
    assert DETECT.losses(family) == family
    found = CLASSIFY.losses(family)
    assert (found.classes, found.label_smoothing) == (1.0, 0.1)
    assert (found.balance, found.information, found.coverage) == (0.0, 0.5, 0.1)


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_images_of_rare_classes_are_shown_more_often_whether_they_are_kept_or_not(cache_bytes):
    dataset = MemoryDataset([whole((64, 64), 0) for _ in range(7)] + [whole((64, 64), 1)])
    config = TrainConfig(
        model=ModelConfig(class_names=dataset.class_names, input_hw=(64, 64), task="classify"),
        train_data=ScenesConfig(),
        batch_size=1,
        repeat_threshold=0.5,
        loader_workers=0,
    )
    with TrainingLoader(dataset, config, CLASSIFY, cache_bytes) as loader:
        shown = [int(batch.class_ids) for epoch in range(20) for batch in loader.epoch(epoch)]
    # One in 8 asks for twice as many: the root of 0.5 over 0.125.
    assert len(loader) == 9
    assert shown.count(1) == pytest.approx(2 / 9 * len(shown), abs=5)
