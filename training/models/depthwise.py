"""Depthwise convolution with a backward pass that is quick on CPUs for kernels wider than 3, and for strides.

The CPU kernels that torch calls compute the weight gradient of a depthwise convolution many times slower
when the kernel is wider than 3 columns; height does not matter. Cut into strips of 3 columns, each on a
shifted view of the input, the gradient is the same. `python -m training time-depthwise` times both.

In half precision strides above 1 are as slow, many times slower than in float32: so they go back in that.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FAST_COLUMNS = 3


class _DepthwiseInStrips(torch.autograd.Function):
    """Stride 1, odd square kernel, same padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            padding = weight.shape[-1] // 2
            grad_x = functional.conv2d(grad, weight.flip(2, 3), padding=padding, groups=len(weight))
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, grad, weight)
        return grad_x, grad_weight


class _DepthwiseInHalf(torch.autograd.Function):
    """A stride above 1 in half precision; odd square kernel, padded by half of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        padding = weight.shape[-1] // 2
        return functional.conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        padding = weight.shape[-1] // 2
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad.float(),
            x.float(),
            weight.float(),
            None,  # no bias
            [ctx.stride, ctx.stride],
            [padding, padding],
            [1, 1],
            False,
            [0, 0],
            len(weight),
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False],
        )
        return _like(x, grad_x), _like(weight, grad_weight), None


def _like(value: Tensor, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.to(value.dtype)


def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    channels, _, kernel, _ = weight.shape
    width, padding = x.shape[3], kernel // 2
    strips = -(-kernel // FAST_COLUMNS)
    surplus = strips * FAST_COLUMNS - kernel  # columns past the kernel, computed and dropped
    padded = functional.pad(x, (padding, padding + surplus, padding, padding))
    columns = []
    for first in range(0, strips * FAST_COLUMNS, FAST_COLUMNS):
        view = padded[..., first : first + width + FAST_COLUMNS - 1]
        _, strip, _ = torch.ops.aten.convolution_backward(
            grad,
            view.contiguous(memory_format=torch.channels_last),
            weight.new_empty(channels, 1, kernel, FAST_COLUMNS),
            None,  # no bias
            [1, 1],
            [0, 0],  # padded above
            [1, 1],
            False,
            [0, 0],
            channels,
            [False, True, False],
        )
        columns.append(strip)
    return torch.cat(columns, dim=3)[..., :kernel]


class DepthwiseConv2d(nn.Conv2d):
    """One k×k filter a channel, no bias, same padding; an ordinary convolution where no gradient is due."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / stride, W / stride)."""
        if not torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
        if self.stride == (1, 1) and self.kernel_size[1] > FAST_COLUMNS:
            return _DepthwiseInStrips.apply(x, weight)
        if self.stride != (1, 1) and x.dtype in (torch.bfloat16, torch.float16):
            return _DepthwiseInHalf.apply(x, weight, self.stride[0])
        return super().forward(x)
