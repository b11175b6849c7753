"""The choice of sparse or dense execution, with fake engines and a fake clock."""

import numpy as np
import pytest

from training.export.proof.selection import IMAGES, LEAST_GAIN, Speed, measure_speed


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Sleeper:
    machine = "a bed"

    def __init__(self, seconds, clock):
        self.seconds, self.clock = seconds, clock
        self.seen = set()

    def run(self, inputs):
        self.seen.add(int(inputs["images"][0, 0, 0, 0]))
        self.clock.now += self.seconds


@pytest.mark.parametrize(("sparse_s", "faster"), [(0.0005, "sparse"), (0.002, "dense")])
@pytest.mark.parametrize("images", [1, 3, IMAGES, IMAGES + 1, 48])
def test_the_faster_of_two_engines_is_shipped_and_both_saw_the_same_images(sparse_s, faster, images):
    clock = Clock()
    engines = {"sparse": Sleeper(sparse_s, clock), "dense": Sleeper(0.001, clock)}
    inputs = [{"images": np.full((1, 2, 2, 3), index, np.uint8)} for index in range(images)]
    speed = measure_speed(engines, inputs, clock=clock)
    assert speed.faster == faster
    assert speed.machine == "a bed"
    assert (speed.sparse_ms, speed.dense_ms) == (sparse_s * 1000, 1), "of one image"
    assert speed.sparse_to_dense == sparse_s * 1000
    assert engines["sparse"].seen == engines["dense"].seen
    assert min(images, IMAGES) / 2 <= len(engines["dense"].seen) <= IMAGES
    assert f": {faster} is chosen" in str(speed)


@pytest.mark.parametrize(("ratio", "faster"), [(1 - LEAST_GAIN, "sparse"), (1 - LEAST_GAIN + 1e-4, "dense")])
def test_a_gain_of_less_than_the_least_ships_the_simpler_graph(ratio, faster):
    assert Speed(ratio, 10 * ratio, 10.0, "").faster == faster
