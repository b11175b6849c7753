"""Repeat factors show rare classes more often, and are computed without decoding images."""

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.data.small_data import MemoryDataset, sample, write_image, write_xml
from training.config import AugmentConfig, ModelConfig, TrainConfig
from training.data.combined import CombinedDataset
from training.data.loading.balance import repeat_factors, repeated
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.data.scenes.scenes import ScenesDataset
from training.data_config import FolderConfig, ScenesConfig
from training.errors import ConfigError
from training.tasks.detect import DETECT

# Class 0 is in all 16 images, class 1 in 4 of them, class 2 in the last alone.
CLASSES = [np.array([0, 0, *([1] if i >= 12 else []), *([2] if i == 15 else [])]) for i in range(16)]


def factors(threshold, classes=CLASSES):
    return repeat_factors(classes, threshold).tolist()


def test_an_image_gets_what_its_rarest_class_asks_for():
    assert factors(0.25) == [1.0] * 15 + [2.0]  # √(0.25 / (1 / 16)); a quarter asks for nothing
    assert factors(1.0) == pytest.approx([1.0] * 12 + [2.0] * 3 + [4.0])  # √(1 / (4 / 16)), √(1 / (1 / 16))


def test_a_threshold_of_nothing_or_of_the_rarest_share_repeats_nothing():
    assert factors(0.0) == [1.0] * 16
    assert factors(1 / 16) == [1.0] * 16


def test_images_without_objects_stand_once_and_count_among_all():
    none = np.array([], dtype=np.int64)
    assert factors(1.0, [none, none, none, np.array([3])]) == [1.0, 1.0, 1.0, 2.0]
    assert factors(1.0, [none, none]) == [1.0, 1.0]


def test_over_many_epochs_an_image_stands_as_often_as_its_factor():
    want = np.array([1.0, 1.25, 2.5, 3.0])
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(repeated(want, rng), minlength=4) for _ in range(4000)])
    assert (counts.min(axis=0) == [1, 1, 2, 3]).all()
    assert (counts.max(axis=0) == [1, 2, 3, 3]).all()
    # The mean of 4000 draws of 0 or 1 strays by less than 4 · 0.5 / √4000 = 0.032.
    np.testing.assert_allclose(counts.mean(axis=0), want, atol=0.032)


CONFIG = TrainConfig(
    model=ModelConfig(class_names=MemoryDataset.class_names, input_hw=(64, 64)),
    train_data=ScenesConfig(),
    augment=AugmentConfig(
        mosaic=0, hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0
    ),
    epochs=3,
    batch_size=4,
    repeat_threshold=1.0,
    loader_workers=0,
)


def with_one_rare_class():
    """16 images of one object: 15 of class 0, one of class 1."""
    return MemoryDataset([sample((64, 64), [[4, 4, 40, 40]], [int(i == 15)], str(i)) for i in range(16)])


def shown(config, epoch):
    with TrainingLoader(with_one_rare_class(), config, DETECT) as loader:
        return [batch.class_ids.tolist() for batch in loader.epoch(epoch)]


def test_an_epoch_is_longer_by_what_is_repeated_and_the_same_for_a_seed():
    # Class 0 asks for √(16 / 15) = 1.033, class 1 for 4: 15 · 1.033 + 4 = 19.5 images, 4 batches of 4.
    batches = shown(CONFIG, epoch=0)
    assert [len(batch) for batch in batches] == [4, 4, 4, 4]
    assert batches == shown(CONFIG, epoch=0)
    assert batches != shown(CONFIG, epoch=1)
    assert batches != shown(replace(CONFIG, seed=1), epoch=0)
    rare = [sum(map(sum, shown(replace(CONFIG, seed=seed), epoch=0))) for seed in range(8)]
    # 4 of 19.5 images, of which 16 are shown: 3.3 of an epoch on average; 0.8 without repetition.
    assert 2.5 < np.mean(rare) < 4


def test_without_a_threshold_the_order_is_that_of_a_plain_shuffle():
    with TrainingLoader(with_one_rare_class(), replace(CONFIG, repeat_threshold=0.0), DETECT) as loader:
        draws = [index for batch in loader._sampler.parts(0, 0) for _, _, index in batch]
    assert draws == np.random.default_rng([0, 0]).permutation(16).tolist()


def test_labels_are_read_without_decoding_images(tmp_path):
    voc, yolo = tmp_path / "voc", tmp_path / "yolo"
    for name, classes in (("a", ("cat", "dog")), ("b", ("dog",))):
        write_xml(voc / "train" / f"{name}.xml", [(each, 1, 1, 9, 9) for each in classes])
        write_image(voc / "train" / f"{name}.png")
        write_image(yolo / "train" / "images" / f"{name}.png")
    (yolo / "data.yaml").write_text("names: [fish, crab]")
    (yolo / "train" / "labels").mkdir()
    (yolo / "train" / "labels" / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    parts = [open_dataset(FolderConfig(root=str(root))) for root in (voc, yolo)]
    odd = open_dataset(FolderConfig(root=str(voc), folds=2, kept=(1,)))
    for image in tmp_path.rglob("*.png"):
        image.write_bytes(b"torn")
    both = CombinedDataset(parts, ["voc", "yolo"])
    assert [both.class_ids(index).tolist() for index in range(4)] == [[0, 1], [1], [3], []]
    assert odd.class_ids(0).tolist() == [1]


def test_of_generated_scenes_the_classes_are_known_by_drawing_them():
    scenes = ScenesDataset(2, seed=0, image_hw=(64, 64))
    assert scenes.class_ids(1).tolist() == scenes.load(1).class_ids.tolist() != []


@pytest.mark.parametrize("share", [-0.01, 1.01])
def test_a_threshold_that_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match=r"repeat_threshold=\S+ must be in 0\.\.1"):
        replace(CONFIG, repeat_threshold=share)
