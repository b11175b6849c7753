"""The running average of the weights."""

import math

import pytest
import torch
from torch import nn

from training.config import OptimizerConfig
from training.trainer.ema import WeightAverage


def one_weight(value):
    model = nn.BatchNorm1d(1)
    nn.init.constant_(model.weight, value)
    return model


def test_the_first_update_forgets_the_random_start():
    average = WeightAverage(one_weight(100.0), OptimizerConfig(ema_decay=0.999, ema_tau_steps=2000))
    average.update(one_weight(1.0), step=1)
    decay = 0.999 * (1 - math.exp(-1 / 2000))  # 0.0005
    assert average.model.weight.item() == pytest.approx(1 + 99 * decay)
    assert average.model.weight.item() < 1.06


def test_the_decay_grows_to_its_limit():
    average = WeightAverage(one_weight(1.0), OptimizerConfig(ema_decay=0.75, ema_tau_steps=10))
    average.update(one_weight(0.0), step=10)
    assert average.model.weight.item() == pytest.approx(0.75 * (1 - 1 / math.e))
    average = WeightAverage(one_weight(1.0), OptimizerConfig(ema_decay=0.75, ema_tau_steps=10))
    average.update(one_weight(0.0), step=10_000)
    assert average.model.weight.item() == pytest.approx(0.75)


def test_without_decay_the_average_is_the_model():
    average = WeightAverage(one_weight(1.0), OptimizerConfig(ema_decay=0.0))
    average.update(one_weight(3.0), step=5)
    assert average.model.weight.item() == 3.0


def test_statistics_of_batch_norm_are_averaged_and_counters_copied():
    model = one_weight(1.0)
    average = WeightAverage(model, OptimizerConfig(ema_decay=0.5, ema_tau_steps=1e-3))
    model.running_mean.fill_(8.0)
    model.num_batches_tracked.fill_(7)
    average.update(model, step=1)
    assert average.model.running_mean.item() == pytest.approx(4.0)
    assert average.model.num_batches_tracked.item() == 7


def test_the_average_is_a_copy_for_evaluation_that_needs_no_gradient():
    model = one_weight(1.0).train()
    average = WeightAverage(model, OptimizerConfig())
    assert not average.model.training
    assert not any(p.requires_grad for p in average.model.parameters())
    assert model.training
    assert model.weight.requires_grad
    with torch.no_grad():
        model.weight.fill_(5.0)
    assert average.model.weight.item() == 1.0
