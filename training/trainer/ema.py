"""A running average of the weights: what is evaluated and released."""

import copy
import math

import torch
from torch import nn

from training.config import OptimizerConfig
from training.models.detector import Detector


class WeightAverage:
    """Exponential average of parameters and batch-norm statistics.

    The decay starts near 0 and grows, so that early averages do not remember the random start.
    """

    def __init__(self, model: Detector, config: OptimizerConfig) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = config.ema_decay
        self._tau_steps = config.ema_tau_steps

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step`, counted from 1."""
        decay = self._decay * (1 - math.exp(-step / self._tau_steps))
        current = model.state_dict()
        for name, average in self.model.state_dict().items():
            if average.dtype.is_floating_point:
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])
