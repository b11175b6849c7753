"""The maps of `explain=route` name the regions that move the starter's routers, on real held-out images.

`python -m tests.explain` measures this on more images, with a finer grid and with intervals.
"""

import os

import numpy as np
import pytest

from tests.explain.__main__ import interval, layers_won, measure_dataset
from tests.explain.candidates import BASELINES, FILLS
from tests.explain.curves import OURS
from tests.explain.images import DATASETS

pytestmark = pytest.mark.heavy


def test_the_routers_change_faster_along_the_map_than_along_any_other_order():
    if "SPARSIGHT_DATA" not in os.environ:
        pytest.skip("set SPARSIGHT_DATA to a folder that holds bccd/, aquarium/ and playing_cards/")
    measured = [one for dataset in DATASETS for one in measure_dataset(1, 4, dataset)]
    for fill in FILLS:
        falls = {name: np.mean([one.deletion[fill][name] for one in measured]) for name in (OURS, *BASELINES)}
        assert falls.pop(OURS) > max(falls.values()) + 0.1, fill


def test_a_layer_is_won_only_if_every_other_order_is_worse_beyond_doubt():
    def tables(difference, spread):
        noise = np.random.default_rng(0).normal(0, spread, 40)
        return [
            {OURS: np.array([difference + each, 1.0])} | dict.fromkeys(BASELINES, np.zeros(2))
            for each in noise
        ]

    assert layers_won(tables(1.0, 0.5)) == 2
    assert layers_won(tables(0.0, 0.5)) == 1
    edges_are_better = tables(1.0, 0.1)
    for table in edges_are_better:
        table["edges"] = np.array([2.0, 0.0])
    assert layers_won(edges_are_better) == 1


def test_the_interval_holds_the_mean_and_narrows_with_more_images():
    rng = np.random.default_rng(1)
    few, many = (rng.normal(2.0, 1.0, (count, 1)) for count in (10, 1000))
    (low, high), (lower, higher) = interval(few), interval(many)
    assert low < few.mean() < high
    assert higher - lower < (high - low) / 3
