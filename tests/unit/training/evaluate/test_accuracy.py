"""Top-1 and top-5, on probabilities that can be ranked by eye."""

import numpy as np
import pytest

from training.evaluate.accuracy import accuracy


def test_the_likeliest_class_is_right_or_not():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.5, 0.4], [0.5, 0.4, 0.1]])
    found = accuracy(probabilities, np.array([0, 1, 2, 1]), ("a", "b", "c"))
    assert found.top1 == 0.5
    assert found.top5 == 1.0, "all of three classes are among five"
    assert found.by_class == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_five_are_looked_at_and_not_six():
    descending = np.array([[0.3, 0.2, 0.18, 0.15, 0.1, 0.07]] * 2)
    found = accuracy(descending, np.array([4, 5]), tuple("abcdef"))
    assert (found.top1, found.top5) == (0.0, 0.5)


def test_of_equal_probabilities_the_first_class_is_the_likelier():
    even = np.full((2, 6), 1 / 6)
    found = accuracy(even, np.array([0, 5]), tuple("abcdef"))
    assert (found.top1, found.top5) == (0.5, 0.5)


def test_a_class_without_images_has_no_accuracy():
    found = accuracy(np.array([[0.9, 0.1]]), np.array([0]), ("a", "b"))
    assert found.by_class == {"a": 1.0, "b": None}


@pytest.mark.parametrize("images", [1, 3])
def test_shares_are_of_images(images):
    right = np.eye(2)[[0] * images]
    assert accuracy(right, np.array([0] * images), ("a", "b")).top1 == 1.0
