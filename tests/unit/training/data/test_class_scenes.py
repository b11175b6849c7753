"""Generated scenes with one label per image."""

import cv2
import numpy as np
import pytest

from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES, ClassScenesDataset
from training.data_config import ScenesConfig


def test_classes_take_turns_and_nothing_is_boxed():
    scenes = open_dataset(ScenesConfig(images=7, image_hw=(64, 96), labels="class"))
    assert isinstance(scenes, ClassScenesDataset)
    assert scenes.class_names == CLASS_NAMES
    samples = [scenes.load(index) for index in range(len(scenes))]
    assert [sample.image_class for sample in samples] == [0, 1, 2, 3, 4, 0, 1]
    assert {sample.image.shape for sample in samples} == {(64, 96, 3)}
    assert all(len(sample.boxes_xyxy) == 0 for sample in samples)


def test_an_index_gives_the_same_scene_and_another_seed_another():
    one, same, other = (ClassScenesDataset(2, seed, (64, 64)).load(1) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()
    decoded = cv2.imdecode(
        np.frombuffer(ClassScenesDataset(2, 0, (64, 64)).encoded(1), np.uint8), cv2.IMREAD_COLOR_RGB
    )
    np.testing.assert_array_equal(decoded, one.image)


def test_the_background_does_not_say_the_class():
    scenes = ClassScenesDataset(60, 0, (64, 64))
    corners = {}
    for index in range(60):
        sample = scenes.load(index)
        red, _, blue = sample.image[:6, :6].reshape(-1, 3).mean(axis=0)
        corners.setdefault(sample.image_class, set()).add("water" if blue > red + 20 else "other")
    assert all(seen == {"water", "other"} for seen in corners.values()), corners


def test_there_is_no_scene_beyond_the_last():
    with pytest.raises(IndexError, match=r"scene 2 is outside 0\.\.1"):
        ClassScenesDataset(2, 0, (64, 64)).load(2)
