"""Why wide depthwise kernels have their own backward pass."""

import torch

from training.models.depthwise_timing import time_backward


def depthwise_table() -> str:
    """Both, timed in turn."""
    lines = [f"depthwise forward and backward, (4, 64, 160, 160), {torch.get_num_threads()} threads"]
    for dtype in (torch.float32, torch.bfloat16):
        for kernel in (5, 7, 9):
            plain, strips = time_backward(kernel, dtype, (4, 64, 160, 160))
            name = str(dtype).removeprefix("torch.")
            lines.append(
                f"  {name:<9} {kernel}×{kernel}: torch {plain * 1e3:6.1f} ms, strips {strips * 1e3:6.1f} ms, "
                f"{plain / strips:4.1f} times as fast"
            )
    return "\n".join(lines)
