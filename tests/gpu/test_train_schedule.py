"""The learning-rate schedule of the GPU training ends within its time limit."""

from dataclasses import replace

import pytest

from tests.gpu.smoke import most_different
from tests.gpu.sparsight import SCENE_CLASS_NAMES, Request, ScenesConfig, build_config
from tests.gpu.train import Pace, epochs_that_fit, scheduled, throughput

PACE = Pace(start_s=10.0, epoch_s=8.0, evaluation_s=5.0)  # 10 + 2 evaluations of twice 5: 30 around epochs


@pytest.mark.parametrize(
    ("left_s", "epochs"),
    [
        pytest.param(110.0, 9, id="94 % are 103.4 s, 73.4 of them for epochs: 9.2"),
        pytest.param(100.01, 8, id="94.0094 s, 64.0094 for epochs: 8 just fit"),
        pytest.param(99.99, 7, id="93.9906 s, 63.9906 for epochs: 8 just do not"),
        pytest.param(5.0, 1, id="none fits: one is run all the same"),
    ],
)
def test_as_many_epochs_are_run_as_fit_beside_start_and_evaluations(left_s, epochs):
    assert epochs_that_fit(PACE, left_s) == epochs


@pytest.mark.parametrize(
    ("epochs", "closing", "every"),
    [(1, 1, 1), (30, 8, 15), (31, 8, 16), (60, 15, 30), (100, 15, 50)],
)
def test_the_last_quarter_has_no_mosaic_and_there_are_two_evaluations(epochs, closing, every):
    data = ScenesConfig(images=8, image_hw=(64, 64))
    overrides = {"model.input_hw": (64, 64)}
    request = Request(
        class_names=SCENE_CLASS_NAMES, train_data=data, variant="sparsight-n", overrides=overrides
    )
    config = scheduled(build_config("starter", request), epochs)
    assert (config.epochs, config.augment.close_mosaic_epochs, config.evaluate_every_epochs) == (
        epochs, closing, every,
    )  # fmt: skip
    untouched = build_config("starter", request)
    assert replace(config, epochs=60, augment=untouched.augment, evaluate_every_epochs=10) == untouched


def test_throughput_is_that_of_the_middle_steps():
    # 9 steps: slow at both ends, half a second each between: 8 images in 0.5 s.
    assert throughput([0.0, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 12.0, 20.0], batch_size=8) == 16.0
    assert throughput([1.0], batch_size=8) == 0.0


def test_losses_are_compared_step_by_step_as_a_share_of_what_they_should_be():
    assert most_different([10.0, 41.0], [10.0, 40.0]) == pytest.approx(0.025)
