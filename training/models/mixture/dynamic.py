"""Average the kernels of experts for each image, and run the result once: dynamic convolution.

An image costs as much as one expert and the averaging, which takes 2 operations for each weight of each
expert. All experts take part, with the router's softmax probabilities as weights.

Source: CondConv, arXiv:1904.04971, and Dynamic Convolution, arXiv:1912.03458. In contrast to both, an expert
has two convolutions here, as a simple expert has, and one router mixes the kernels of both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import MixtureConfig, ModelConfig
from training.errors import ConfigError
from training.models.layers import norm_layer

# B batch · E experts · C channels · D hidden channels · k kernel · H, W feature-map size


class KernelExpert(nn.Module):
    """The kernels of a simple expert: two convolutions, whose norms all experts share."""

    def __init__(self, channels: int, kernel: int, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.expand = nn.Conv2d(channels, hidden, kernel, bias=False)
        self.project = nn.Conv2d(hidden, channels, kernel, bias=False)


class DynamicExpert(nn.Module):
    """Runs one simple expert for each image, whose kernels are the weighted mean of all experts' kernels.

    The norms are not averaged with the kernels: an expert's own convolution never runs, so a norm of its own
    would get no statistics in training. Instead, one norm follows each mixed convolution.
    """

    def __init__(self, channels: int, config: MixtureConfig) -> None:
        """Build the norms; raise ConfigError if the experts' kernels have different sizes."""
        if len(set(config.kernel_sizes)) != 1:
            raise ConfigError(
                f"kernel_sizes={config.kernel_sizes} must be equal: dynamic experts average kernels"
            )
        super().__init__()
        self.expand_norm = norm_layer(int(channels * config.expert_ratio), config.norm)
        self.act = nn.SiLU(inplace=True)
        self.project_norm = norm_layer(channels, config.norm)

    def forward(self, experts: Sequence[KernelExpert], x: Tensor, weights: Tensor) -> Tensor:
        """Map x (B, C, H, W) to the same shape; `weights` (B, E) are those of the experts' kernels."""
        expand = mix_kernels([expert.expand.weight for expert in experts], weights)  # (B, D, C, k, k)
        project = mix_kernels([expert.project.weight for expert in experts], weights)  # (B, C, D, k, k)
        hidden = self.act(self.expand_norm(convolve_each(x, expand)))  # (B, D, H, W)
        return self.project_norm(convolve_each(hidden, project))


def mix_kernels(kernels: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return one kernel for each image, (B, ...): the sum of E kernels (...), weighted by weights (B, E)."""
    flat = torch.stack([kernel.flatten() for kernel in kernels])  # (E, n)
    return torch.mm(weights.to(flat.dtype), flat).reshape(len(weights), *kernels[0].shape)


def convolve_each(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image of x (B, C, H, W) with its own kernel of kernels (B, D, C, k, k); keep H and W.

    Each image becomes a group of channels of one grouped convolution.
    """
    batch, channels, height, width = x.shape
    folded = x.reshape(1, batch * channels, height, width)
    padding = kernels.shape[-1] // 2
    found = functional.conv2d(folded, kernels.flatten(0, 1), padding=padding, groups=batch)
    return found.reshape(batch, kernels.shape[1], height, width)


def mixes_kernels(config: ModelConfig) -> bool:
    """Return whether a mixture layer of the network averages its experts' kernels for each image."""
    return any(mixture.expert == "dynamic" for mixture in config.mixtures.values())


def mixes_for_each_image(config: ModelConfig) -> bool:
    """Return whether the kernels differ from image to image, so that no graph can hold them.

    In a network with paths, all images of a path have the same kernels.
    """
    return config.paths is None and mixes_kernels(config)
