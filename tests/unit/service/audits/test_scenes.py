"""Images of one scene count once."""

import numpy as np

from service.audits.scenes import Scenes, sketch_of

CHANCE = np.random.default_rng(0)


def canvas(level):
    return np.full((1, 64, 64, 3), level, np.uint8)


def test_a_scene_counts_once_and_another_scene_counts():
    scenes = Scenes()
    assert scenes.is_new(sketch_of(canvas(100)))
    assert not scenes.is_new(sketch_of(canvas(100)))
    assert not scenes.is_new(sketch_of(canvas(103)))
    assert scenes.is_new(sketch_of(canvas(104)))


def test_noise_and_a_small_moving_object_do_not_make_a_new_scene():
    still = CHANCE.integers(60, 180, (1, 64, 64, 3)).astype(np.uint8)
    scenes = Scenes()
    assert scenes.is_new(sketch_of(still))
    noisy = (still + CHANCE.integers(-8, 9, still.shape)).astype(np.uint8)
    noisy[0, 10:18, 20:28] = 255
    assert not scenes.is_new(sketch_of(noisy))


def test_five_hundred_scenes_are_remembered_and_the_oldest_is_forgotten():
    scenes, levels = Scenes(), np.arange(501) * 10
    sketches = [np.full(192, level, np.float32) for level in levels]
    assert all(map(scenes.is_new, sketches[:500]))
    assert not scenes.is_new(sketches[0])
    assert scenes.is_new(sketches[500])
    assert scenes.is_new(sketches[0])
    assert not scenes.is_new(sketches[2])


def test_a_sketch_has_the_mean_colour_of_each_cell_also_of_a_size_that_is_no_multiple_of_eight():
    image = np.zeros((1, 70, 65, 3), np.uint8)
    image[0, :8, :8] = (10, 20, 30)
    sketch = sketch_of(image)
    assert sketch.shape == (192,)
    assert sketch[:3].tolist() == [10, 20, 30]
    assert not sketch[3:].any()
