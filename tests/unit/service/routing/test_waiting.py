"""Results are the same whether images are computed together or one by one."""

from dataclasses import replace

import numpy as np
import pytest

from service.routing.statistics import Cusum
from service.routing.watch import SPAN, STEP, Watch
from service.routing.window import DecayingMean
from tests.unit.service.routing.builders import LAYERS, activations, probabilities, reference


def stream(rng):
    """Return images like the baseline, shifted ones, and others like the baseline; a few have NaN."""
    parts = probabilities(rng, 2 * SPAN), probabilities(rng, SPAN, 1.5), probabilities(rng, 3 * SPAN - 7)
    found = [activations(image) for part in parts for image in part]
    for place in rng.integers(SPAN, len(found), 5).tolist():
        found[place] = (replace(found[place][0], probabilities=(float("nan"),) * 4), found[place][1])
    return found


def exact(watch):
    """Return the results of the last look that must be equal without rounding."""
    alarm = watch.alarm and (watch.alarm.layer, watch.alarm.test)
    states = [(state.hot, state.entropy_outside, state.together.tolist()) for state in watch.states.values()]
    return watch.count, watch.looked_at, alarm, states


def numbers(watch):
    """Return the numbers of the last look."""
    states = watch.states.values()
    found = [number for each in states for number in (each.drift_bits, each.pvalue, each.entropy_bits)]
    return [*found, watch.alarm.pvalue if watch.alarm else 1.0]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_result_depends_on_when_somebody_asks(seed):
    rng = np.random.default_rng(seed)
    base = reference(probabilities(rng, 400))
    each, together, sometimes = (Watch(base, LAYERS) for _ in range(3))
    ranks, drifted = [], False
    for image in stream(rng):
        finite = each.add(image)
        assert together.add(image) is sometimes.add(image) is finite
        if finite:
            ranks.append(each.window.latest[2])
            if rng.random() < 0.1:
                assert sometimes.window.latest[2] == ranks[-1]
        for other in (together, sometimes):
            assert exact(other) == exact(each)
            assert numbers(other) == pytest.approx(numbers(each), rel=1e-9)
        drifted |= each.alarm is not None and each.alarm.test != "nan"
    assert drifted
    assert together.window.latest[2] == ranks[-1]
    assert together.window.novelty == sometimes.window.novelty == each.window.novelty
    assert each.window.novelty == pytest.approx(np.mean(ranks[-SPAN:]))
    assert together.dead == each.dead == sometimes.dead


def test_fewer_images_wait_than_between_two_looks():
    rng = np.random.default_rng(0)
    watch = Watch(reference(probabilities(rng, 400)), LAYERS)
    waiting = []
    for image in probabilities(rng, 2 * STEP + 3):
        watch.add(activations(image))
        waiting.append(len(watch._waiting))
    assert waiting == [*range(1, STEP), 0, *range(1, STEP), 0, 1, 2, 3]
    assert (watch.count, watch.looked_at) == (2 * STEP + 3, 2 * STEP)


def test_an_expert_that_was_chosen_by_a_waiting_image_is_not_dead():
    rng = np.random.default_rng(0)
    images = [activations(image) for image in probabilities(rng, 400)]
    watch = Watch(reference(probabilities(rng, 400)), LAYERS)
    with_it = next(image for image in images if 0 in image[0].active)
    without = next(image for image in images if 0 not in image[0].active)
    for _ in range(4 * STEP):
        watch.add(without)
    assert 0 in watch.dead[0]
    watch.add(with_it)
    assert 0 not in watch.dead[0]
    watch.add(without)
    assert watch._unchosen[0][0] == 0  # it still waits
    assert 0 not in watch.dead[0]
    assert watch._unchosen[0][0] == 1


def test_an_alarm_for_nan_does_not_wait_and_loses_no_image():
    rng = np.random.default_rng(0)
    watch = Watch(reference(probabilities(rng, 400)), LAYERS)
    image = activations(probabilities(rng, 1)[0])
    for _ in range(3):
        watch.add(image)
    assert not watch.add((replace(image[0], probabilities=(float("nan"),) * 4), image[1]))
    assert watch.alarm.test == "nan"
    assert (watch.count, watch.window.filled) == (3, 3)


def test_a_decaying_mean_of_many_images_is_that_of_one_after_the_other():
    values = np.random.default_rng(0).normal(size=(60, 3))
    alone, parts = DecayingMean(20, 3), DecayingMean(20, 3)
    total, weight, squares = np.zeros(3), 0.0, 0.0
    for value in values:
        total, weight, squares = total * 0.95 + value, weight * 0.95 + 1, squares * 0.95**2 + 1
        alone.add(value[None])
    for part in np.split(values, [1, 4, 29]):
        parts.add(part)
    for found in (alone, parts):
        assert found.mean == pytest.approx(total / weight)
        assert found.effective == pytest.approx(weight**2 / squares)


def test_a_cumulative_sum_falls_to_0_within_values_that_are_added_together():
    cusum = Cusum(0.1, 1e6)
    cusum.add(np.array([1.0, 0.0, 0.0, 1.0]))
    assert cusum._sum == pytest.approx(0.4)
