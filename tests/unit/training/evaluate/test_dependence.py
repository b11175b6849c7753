"""Mutual information of chosen expert sets and image groups, and its permutation test."""

import math
import time
from collections import Counter

import numpy as np
import pytest

from training.evaluate import dependence as module
from training.evaluate.dependence import dependence, normalised_mutual_information


def ids(text):
    return np.array([int(digit) for digit in text])


def counted(sets, groups):
    """The definition written out with dictionaries and natural logarithms."""

    def entropy(values):
        return -sum(n / len(values) * math.log(n / len(values)) for n in Counter(values).values())

    of_sets, of_groups = entropy(sets), entropy(groups)
    if not of_sets or not of_groups:
        return 0.0
    together = entropy(list(zip(sets, groups, strict=True)))
    return (of_sets + of_groups - together) / ((of_sets + of_groups) / 2)


@pytest.mark.parametrize(
    ("sets", "groups", "nmi"),
    [
        pytest.param("0011", "0011", 1, id="each says the other"),
        pytest.param("0011", "1100", 1, id="whatever they are called"),
        pytest.param("0101", "0011", 0, id="independent"),
        # H = 0.811278 and 1, together 1.5: 0.311278 / 0.905639
        pytest.param("0001", "0011", 0.343711, id="three of four"),
        # 1/3 and 1/6 of all in the cells: 2/3 log2 4/3 + 1/3 log2 2/3, of 1 bit each
        pytest.param("000111", "001011", 0.081704, id="two of three"),
        pytest.param("0123", "0011", 2 / 3, id="a set for each image: 1 bit of 2 and 1"),
        pytest.param("0000", "0011", 0, id="one set"),
        pytest.param("0011", "0000", 0, id="one group"),
        pytest.param("0", "0", 0, id="one image"),
    ],
)
def test_tables_counted_by_hand(sets, groups, nmi):
    assert normalised_mutual_information(ids(sets), ids(groups)) == pytest.approx(nmi, abs=1e-6)


def test_it_is_what_the_definition_gives_on_random_tables():
    rng = np.random.default_rng(0)
    for _ in range(50):
        images = int(rng.integers(2, 40))
        sets, groups = rng.integers(rng.integers(1, 9), size=images), rng.integers(3, size=images)
        expected = counted(sets.tolist(), groups.tolist())
        assert normalised_mutual_information(sets, groups) == pytest.approx(expected, abs=1e-12)


def test_perfect_dependence_is_reached_by_no_permutation():
    groups = np.arange(90) % 3
    assert dependence(groups, groups, permutations=1000)[:2] == (1.0, 1 / 1001)


def test_p_of_four_images_is_the_share_of_their_orders():
    """Of the 6 ways to deal two pairs 2 agree with the sets: what equals the observed reaches it."""
    found = dependence(ids("0011"), ids("0011"), permutations=6000)
    assert found.p_value == pytest.approx(2 / 6, abs=0.02)
    assert found.chance == pytest.approx(2 / 6, abs=0.02)


@pytest.mark.parametrize(("sets", "groups"), [("0000", "0011"), ("0011", "0000"), ("0", "0")])
def test_what_cannot_depend_has_p_1(sets, groups):
    assert dependence(ids(sets), ids(groups), permutations=100) == (0.0, 1.0, 0.0)


def test_without_dependence_every_p_is_as_likely_as_another():
    rng = np.random.default_rng(1)
    found = [
        dependence(rng.integers(4, size=60), rng.integers(3, size=60), permutations=99, seed=seed)
        for seed in range(300)
    ]
    p_values = np.array([each.p_value for each in found])
    assert p_values.mean() == pytest.approx(0.5, abs=0.06)
    assert (p_values <= 0.1).mean() == pytest.approx(0.1, abs=0.06)
    assert np.mean([each.nmi for each in found]) == pytest.approx(
        np.mean([each.chance for each in found]), abs=0.003
    )


def test_the_seed_decides_and_what_fits_into_memory_does_not(monkeypatch):
    rng = np.random.default_rng(2)
    sets, groups = rng.integers(5, size=50), rng.integers(3, size=50)
    whole = dependence(sets, groups, permutations=300)
    assert dependence(sets, groups, permutations=300) == whole
    assert dependence(sets, groups, permutations=300, seed=1).chance != whole.chance
    monkeypatch.setattr(module, "AT_ONCE", 1)
    assert dependence(sets, groups, permutations=300) == pytest.approx(whole, abs=1e-12)


def test_a_thousand_permutations_of_five_thousand_images_take_a_moment():
    rng = np.random.default_rng(3)
    sets, groups = rng.integers(6, size=5000), rng.integers(3, size=5000)
    started = time.process_time()
    dependence(sets, groups, permutations=1000)
    assert time.process_time() - started < 1  # 0.13 s where this was written
