"""The fast backward pass of depthwise convolutions gives PyTorch's gradients."""

import pytest
import torch
from torch import nn

from training.models.depthwise import DepthwiseConv2d


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9, 11])
@pytest.mark.parametrize("hw", [(1, 1), (4, 13), (16, 16)])
def test_gradients_equal_those_of_a_plain_convolution(kernel, hw):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(5, kernel).double()
    plain = nn.Conv2d(5, 5, kernel, padding=kernel // 2, groups=5, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, *hw, dtype=torch.float64)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), plain(inputs[1])]
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    assert torch.allclose(outputs[0], outputs[1])
    assert torch.allclose(inputs[0].grad, inputs[1].grad)
    assert torch.allclose(ours.weight.grad, plain.weight.grad)


def test_under_autocast_it_computes_in_half_precision_and_learns_in_full():
    layer = DepthwiseConv2d(4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(1, 4, 8, 8))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("hw", [(4, 13), (16, 16)])
@pytest.mark.parametrize("needs_x", [True, False])
def test_strides_in_half_precision_have_the_gradients_of_a_plain_convolution(hw, needs_x):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(5, 3, stride=2).bfloat16()
    # The gradients of float32: in half precision some CPUs add up in that.
    plain = nn.Conv2d(5, 5, 3, stride=2, padding=1, groups=5, bias=False)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, *hw).bfloat16().to(memory_format=torch.channels_last)
    inputs = [x.clone().requires_grad_(needs_x), x.float().requires_grad_(needs_x)]
    outputs = [ours(inputs[0]), plain(inputs[1])]
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    assert torch.equal(outputs[0], nn.functional.conv2d(x, ours.weight, stride=2, padding=1, groups=5))
    # Rounded once, perhaps to a neighbour: 8 bits are 2⁻⁸ apart.
    if needs_x:
        assert inputs[0].grad.dtype == torch.bfloat16
        torch.testing.assert_close(inputs[0].grad.float(), inputs[1].grad, rtol=2**-7, atol=1e-3)
    torch.testing.assert_close(ours.weight.grad.float(), plain.weight.grad, rtol=2**-7, atol=1e-3)
