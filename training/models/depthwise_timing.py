"""Times the backward pass of wide depthwise kernels: torch's own, and ours in strips."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.models.depthwise import DepthwiseConv2d

ROUNDS = 7


def time_backward(kernel: int, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> tuple[float, float]:
    """Return the median seconds of forward and backward, timed alternately: torch's own, then ours."""
    channels = shape[1]
    x = torch.randn(shape).to(dtype=dtype, memory_format=torch.channels_last)
    own = DepthwiseConv2d(channels, kernel).to(dtype)
    plain = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False).to(dtype)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for layer, record in ((plain, times[0]), (own, times[1])):
            record.append(_seconds(layer, x))
    return statistics.median(times[0]), statistics.median(times[1])


def _seconds(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    x = x.detach().requires_grad_()
    started = time.perf_counter()
    layer(x).sum().backward()
    return time.perf_counter() - started
