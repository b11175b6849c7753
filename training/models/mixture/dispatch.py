"""Three ways to add up the chosen experts. All give the same sum; they differ in what they compute.

dense        every expert on every image, weighted; an expert that was not chosen weighs zero
grouped      each expert on the images that chose it
conditional  one image; each expert in a branch of the graph that runs or not: what is exported

In evaluation the three agree to rounding. In training they do not, because of batch norm inside experts:
under dense it sees the whole batch, under grouped only the images that chose the expert. Training runs
dense: at the batch sizes of detectors (8 to 16 images, half of them chosen) a group is too small for
statistics, an expert nobody chose would keep the statistics it was born with, and one chosen by a single
image would normalise that image by itself. The cost is the work of the experts that were not chosen: in
esmoe-n, two of four in each layer, at least 1.2 of 9.5 GFLOPs.
"""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor, nn

# B batch · E experts · C channels · H, W feature-map size


def run_dense(experts: Iterable[nn.Module], x: Tensor, gate: Tensor) -> Tensor:
    """Weighted sum over all experts; x (B, C, H, W), gate (B, E), result (B, c_out, H, W)."""
    weights = gate.to(x.dtype)[:, :, None, None, None]  # (B, E, 1, 1, 1)
    # Summed from the first answer on: zeros of x's batch would be one more operator in a static graph.
    return reduce(torch.add, (weights[:, index] * expert(x) for index, expert in enumerate(experts)))


def run_grouped(experts: Iterable[nn.Module], x: Tensor, gate: Tensor, c_out: int) -> Tensor:
    """Weighted sum; each expert sees only the images whose gate for it is above zero, all in one go."""
    weights = gate.to(x.dtype)
    total = x.new_zeros(len(x), c_out, *x.shape[2:])
    for index, expert in enumerate(experts):
        image_ids = (gate[:, index] > 0).nonzero().flatten()
        if len(image_ids):
            answer = weights[image_ids, index, None, None, None] * expert(x[image_ids])
            total = total.index_add(0, image_ids, answer.to(total.dtype))
    return total


def run_conditional(experts: Iterable[nn.Module], x: Tensor, gate: Tensor, c_out: int) -> Tensor:
    """Weighted sum for one image; becomes one `If` per expert in an exported graph.

    Maps cross the branch as (B, H, W, C): CPU engines convolve channels-last but copy branch ports in plain
    order, and a reordering at each port costs what the skipping gains.

    Raises:
        ValueError: B is not 1; the branch would be taken for all images by the first one's gate.
    """
    if x.shape[0] != 1:
        raise ValueError(f"conditional experts take one image, got {x.shape[0]}")
    channels_last = x.permute(0, 2, 3, 1)  # (1, H, W, C)
    total = channels_last.new_zeros(*channels_last.shape[:3], c_out)
    for index, expert in enumerate(experts):
        weight = gate.index_select(1, torch.tensor([index], device=gate.device)).reshape(1, 1, 1, 1)

        def run(maps: Tensor, weight: Tensor, expert: nn.Module = expert) -> Tensor:
            answer = expert(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return (answer * weight).contiguous()

        def skip(maps: Tensor, weight: Tensor) -> Tensor:
            return maps.new_zeros(*maps.shape[:3], c_out)

        runs = weight.reshape(()) > 0
        if torch.compiler.is_exporting():
            total = total + torch.cond(runs, run, skip, (channels_last, weight))
        else:  # the same branches; outside an export, torch.cond would compile them first
            total = total + (run if runs else skip)(channels_last, weight)
    return total.permute(0, 3, 1, 2)
