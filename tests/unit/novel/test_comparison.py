"""The figures of the experiment with novel images follow from the order of the images."""

import numpy as np
import pytest

from service.novel.score import Novelty
from tests.novel.answers import Scored
from tests.novel.comparison import Interval, compare


def scored(rarity, confidence):
    return Scored(None, Novelty(0.5, rarity, 0.0, confidence, np.zeros(1, np.float32)), confidence)


def test_a_way_that_tells_all_planted_images_has_full_marks_and_chance_has_the_share():
    clean, planted = [scored(0.1, 0.9)] * 95, [scored(2.0, 0.9)] * 5
    found = compare(clean, planted, 0.05, streams=400, seed=0)
    assert (found["score"].precision == 1).all()
    assert (found["score"].average_precision == 1).all()
    # All images are equally confident, so low confidence can only guess.
    for way in ("low confidence", "random"):
        assert found[way].precision.mean() == pytest.approx(0.05, abs=0.02)
        assert found[way].recall_twice.mean() == pytest.approx(0.10, abs=0.03)


def test_a_way_that_puts_the_planted_images_last_finds_none():
    clean, planted = [scored(2.0, 0.1)] * 95, [scored(0.1, 0.9)] * 5
    found = compare(clean, planted, 0.05, streams=10, seed=0)
    assert (found["score"].recall_twice == 0).all()
    assert (found["low confidence"].precision == 0).all()


def test_an_interval_leaves_out_a_fortieth_on_each_side():
    found = Interval.of(np.arange(41.0))
    assert (found.mean, found.low, found.high) == (20, 1, 39)
