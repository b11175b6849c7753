"""Time forward and backward of wide depthwise kernels: torch's own, and ours in strips."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.columns import in_columns
from training.models.depthwise import DepthwiseConv2d

ROUNDS = 7
SHAPE = (4, 64, 160, 160)


def depthwise_table() -> str:
    """Time both convolutions, and return the median times as text."""
    rows = [("", "kernel", "torch, ms", "strips, ms", "times as fast")]
    for dtype in (torch.float32, torch.bfloat16):
        for kernel in (5, 7, 9):
            plain, strips = _median_seconds(kernel, dtype)
            name = str(dtype).removeprefix("torch.")
            times = (f"{plain * 1e3:.1f}", f"{strips * 1e3:.1f}", f"{plain / strips:.1f}")
            rows.append((name, f"{kernel}×{kernel}", *times))
    heading = f"depthwise forward and backward, {SHAPE}, {torch.get_num_threads()} threads"
    return "\n".join([heading, *in_columns(rows, "llrrr", indent=2)])


def _median_seconds(kernel: int, dtype: torch.dtype) -> list[float]:
    """Return the median times of torch's convolution and of ours, which are timed alternately."""
    channels = SHAPE[1]
    x = torch.randn(SHAPE).to(dtype=dtype, memory_format=torch.channels_last)
    plain = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    layers = [layer.to(dtype) for layer in (plain, DepthwiseConv2d(channels, kernel))]
    rounds = [[_seconds(layer, x) for layer in layers] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _seconds(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    x = x.detach().requires_grad_()
    started = time.perf_counter()
    layer(x).sum().backward()
    return time.perf_counter() - started
