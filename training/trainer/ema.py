"""A running average of the weights, which is evaluated and exported."""

import copy
import math

import torch
from torch import nn

from training.config import OptimizerConfig
from training.models.network import Network


class WeightAverage:
    """An exponential average of a model's parameters and batch-norm statistics.

    The decay starts near 0 and grows. So the random initial weights soon have little effect on the average.
    """

    def __init__(self, model: Network, config: OptimizerConfig) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = config.ema_decay
        self._tau_steps = config.ema_tau_steps

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average with the weights of `model` after a step; the first step is number 1."""
        decay = self._decay * (1 - math.exp(-step / self._tau_steps))
        averages = list(self.model.state_dict().values())
        current = list(model.state_dict().values())  # in the same order, because self.model is a copy
        floats = [index for index, each in enumerate(averages) if each.dtype.is_floating_point]
        # One call for all: calling for each of hundreds of tensors takes longer than the sums.
        torch._foreach_lerp_([averages[i] for i in floats], [current[i] for i in floats], 1 - decay)
        for average, value in zip(averages, current, strict=True):
            if not average.dtype.is_floating_point:
                average.copy_(value)
