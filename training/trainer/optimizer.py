"""The optimizer, and the schedules of the learning rate and of the softness of paths."""

import math

import torch
from torch import nn

from training.config import OptimizerConfig, TrainConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return an optimizer that applies weight decay to matrices and kernels, but not to biases and norms."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    match config.name:
        case "sgd":
            return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True)
        case "adamw":
            # foreach takes a quarter less time on CPUs, with the same bits. fused would be wrong on CPUs: it
            # reads numbers in memory order, which differs between channels-last weights and loaded moments.
            return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), foreach=True)


def learning_rate(config: OptimizerConfig, step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the learning rate of a step.

    The rate rises linearly from 0 to `lr` during the warm-up, and then falls to `final_lr` at the last step.
    """
    if step < warmup_steps:
        return config.lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(total_steps - 1 - warmup_steps, 1)
    match config.schedule:
        case "cosine":
            remaining = (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            remaining = 1 - progress
    return config.final_lr + (config.lr - config.final_lr) * remaining


def path_softness(config: TrainConfig, step: int, total_steps: int) -> float:
    """Return how much a step mixes the paths of a network that has them; see choose_path.

    The softness falls linearly from 1 at step 0 to 0, which it reaches after the share `soft_paths` of the
    run. It is 0 in a run without soft paths.
    """
    soft_steps = config.soft_paths * total_steps
    return max(0.0, 1 - step / soft_steps) if soft_steps else 0.0
