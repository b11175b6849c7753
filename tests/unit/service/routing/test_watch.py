"""A watch notices images that are routed unlike the baseline, and says where."""

from dataclasses import replace

import numpy as np
import pytest

from service.routing.reference import LEAST_IMAGES
from service.routing.watch import PATH, SPAN, STEP, Watch
from tests.unit.service.routing.builders import LAYERS, activations, probabilities, reference


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def watch(rng):
    return Watch(reference(probabilities(rng, 400)), LAYERS)


def show(watch, images):
    """Add images until the first alarm; return after how many it came."""
    for image in images:
        watch.add(activations(image))
        if watch.alarm is not None:
            return watch.count
    return None


def rank_of(image, watch):
    """Add an image; return its rank."""
    assert watch.add(activations(image))
    return watch.window.latest[2]


def test_images_like_the_baseline_raise_no_alarm(watch, rng):
    assert show(watch, probabilities(rng, 5000)) is None
    assert all(state.pvalue == 1.0 for state in watch.states.values())
    assert watch.window.novelty == pytest.approx(0.5, abs=0.1)


def test_shifted_images_raise_an_alarm_within_a_window(watch, rng):
    assert show(watch, probabilities(rng, SPAN, shift=1.0)) <= SPAN


def test_a_small_shift_takes_longer_than_a_large_one(rng):
    base = reference(probabilities(rng, 400))
    small = show(Watch(base, LAYERS), probabilities(rng, SPAN, shift=0.5))
    large = show(Watch(base, LAYERS), probabilities(rng, SPAN, shift=3.0))
    assert large < small


def test_an_alarm_names_the_layer_that_shows_it(watch, rng):
    shifted = [
        [image[0], other[1]]
        for image, other in zip(probabilities(rng, SPAN), probabilities(rng, SPAN, 1.5), strict=True)
    ]
    for image in shifted:
        watch.add(activations(image))
    assert watch.alarm.layer == "neck.p3"
    assert watch.states["neck.p3"].pvalue < 1 == watch.states["backbone.p4"].pvalue


def test_an_alarm_ends_after_as_many_images_as_the_window_holds(watch, rng):
    assert show(watch, probabilities(rng, SPAN, shift=3.0))
    for _ in range(40):
        for image in probabilities(rng, SPAN):
            watch.add(activations(image))
        if watch.alarm is None:
            break
    # The decaying mean remembers the shift for a few thousand images.
    assert watch.alarm is None
    assert watch.count > 2 * SPAN


def test_nothing_is_looked_at_between_two_steps(watch, rng):
    images = probabilities(rng, SPAN, shift=5.0)
    assert show(watch, images) % STEP == 0


def test_an_expert_that_is_never_chosen_again_is_dead(watch, rng):
    for image in probabilities(rng, SPAN):
        layers = [np.array(each) for each in image]
        layers[0][0] = 1e-4  # expert 0 of the first layer, which every second image should choose
        layers[0] /= layers[0].sum()
        watch.add(activations(layers))
    assert watch.dead[0] == (0,)
    assert watch.alarm is not None


def test_an_expert_that_the_baseline_never_chose_is_not_dead(rng):
    images = [[np.array([0.6, 0.3, 0.1 - 1e-4, 1e-4]), image[1]] for image in probabilities(rng, 400)]
    watch = Watch(reference(images), LAYERS)
    assert show(watch, images[:200] * 5) is None
    assert 3 not in watch.dead[0]


@pytest.mark.filterwarnings("error")  # a warning would be a line in the log that is no JSON
@pytest.mark.parametrize("wrong", [(float("nan"),) * 4, (float("inf"), 0.0, 0.0, 0.0), (-1.0, 1.0, 1.0, 0.0)])
def test_a_router_that_gives_nan_raises_an_alarm_at_once(watch, rng, wrong):
    image = activations(probabilities(rng, 1)[0])
    broken = (replace(image[0], probabilities=wrong), image[1])
    assert not watch.add(broken)
    assert (watch.alarm.layer, watch.alarm.test) == (PATH, "nan")
    assert watch.count == 0  # it is no part of the window, whose mean would be NaN for ever


def test_the_rank_of_an_image_unlike_all_others_is_1(watch, rng):
    far = [np.array([1e-3, 1e-3, 0.997, 1e-3]), np.array([1e-3, 0.001, 0.998])]
    assert rank_of(far, watch) == 1.0


def test_ranks_of_images_like_the_baseline_are_uniform(watch, rng):
    ranks = [rank_of(image, watch) for image in probabilities(rng, 2000)]
    assert np.quantile(ranks, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.08)


@pytest.mark.parametrize(("count", "enough"), [(LEAST_IMAGES - 1, False), (LEAST_IMAGES, True)])
def test_a_baseline_needs_a_hundred_images(rng, count, enough):
    assert (reference(probabilities(rng, count)) is not None) is enough
