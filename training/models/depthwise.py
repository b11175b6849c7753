"""Depthwise convolution whose backward pass is fast on CPUs, also for wide kernels and strides above 1.

Torch's CPU kernels compute the weight gradient of a depthwise convolution many times slower if the kernel is
wider than 3 columns; the kernel's height does not matter. So this module cuts the kernel into strips of 3
columns and computes each strip's gradient from a shifted view of the input. The gradient is the same.

In half precision, torch's backward pass at strides above 1 is many times slower than in float32. So the
backward pass here runs in float32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FAST_COLUMNS = 3


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution with an odd square kernel, and with a backward pass that is fast on CPUs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        padding, needs = weight.shape[-1] // 2, ctx.needs_input_grad[:2]
        if ctx.stride > 1:
            found = _gradients(grad.float(), x.float(), weight.float(), ctx.stride, padding, needs)
            of_x, of_weight = (None if each is None else each.to(x.dtype) for each in found)
            return of_x, of_weight, None
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if needs[0]:
            of_x = functional.conv2d(grad, weight.flip(2, 3), padding=padding, groups=len(weight))
        if needs[1]:
            of_weight = _weight_gradient(x, grad, weight)
        return of_x, of_weight, None


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs: Sequence[bool]
) -> tuple[Any, Any]:
    """Return the gradients of x and weight that torch computes; None for a gradient that is not needed."""
    steps = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0]
    found = torch.ops.aten.convolution_backward(grad, x, weight, None, *steps, len(weight), [*needs, False])
    return found[0], found[1]


def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the weight at stride 1, computed in strips of 3 kernel columns."""
    channels, _, kernel, _ = weight.shape
    width, padding = x.shape[3], kernel // 2
    strips = -(-kernel // FAST_COLUMNS)
    surplus = strips * FAST_COLUMNS - kernel  # columns past the kernel, computed and dropped
    padded = functional.pad(x, (padding, padding + surplus, padding, padding))
    narrow = weight.new_empty(channels, 1, kernel, FAST_COLUMNS)
    columns = []
    for first in range(0, strips * FAST_COLUMNS, FAST_COLUMNS):
        view = padded[..., first : first + width + FAST_COLUMNS - 1]
        view = view.contiguous(memory_format=torch.channels_last)
        columns.append(_gradients(grad, view, narrow, 1, 0, (False, True))[1])
    return torch.cat(columns, dim=3)[..., :kernel]


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias; at stride 1, the output is as large as the input."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H / stride, W / stride)."""
        if not torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
        wide, half = self.kernel_size[1] > FAST_COLUMNS, x.dtype in (torch.bfloat16, torch.float16)
        if wide if self.stride == (1, 1) else half:
            return _Depthwise.apply(x, weight, self.stride[0])
        return super().forward(x)
