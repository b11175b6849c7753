"""Which execution is shipped; the engines are a stand-in that takes the time it is told."""

import time

import numpy as np
import pytest

from training.export.choose import LEAST_GAIN, Speed, measure_speed
from training.models.mixture.routing import RoutingControls


class Sleeper:
    machine = "a bed"

    def __init__(self, seconds):
        self.seconds = seconds
        self.seen = set()

    def run(self, canvas, controls):
        self.seen.add(int(canvas[0, 0, 0]))
        time.sleep(self.seconds)


@pytest.mark.parametrize(("sparse_s", "faster"), [(0.002, "sparse"), (0.008, "dense")])
def test_the_faster_of_two_engines_is_shipped_having_seen_every_picture(sparse_s, faster):
    engines = {"sparse": Sleeper(sparse_s), "dense": Sleeper(0.004)}
    canvases = [np.full((2, 2, 3), index, np.uint8) for index in range(3)]
    speed = measure_speed(engines, canvases, RoutingControls(2, 0.0))
    assert speed.faster == faster
    assert speed.machine == "a bed"
    assert all(engine.seen == {0, 1, 2} for engine in engines.values())
    assert f"; {faster} it is" in str(speed)


@pytest.mark.parametrize(("ratio", "faster"), [(1 - LEAST_GAIN, "sparse"), (1 - LEAST_GAIN + 1e-4, "dense")])
def test_a_gain_of_less_than_the_least_ships_the_simpler_graph(ratio, faster):
    assert Speed(ratio, 10 * ratio, 10.0, "").faster == faster
