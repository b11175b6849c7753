"""Time the backward pass of wide depthwise kernels: torch's beside ours."""

import torch

from training.columns import in_columns
from training.models.depthwise_timing import time_backward


def depthwise_table() -> str:
    """Time both in turns, and return the times as text."""
    rows = [("", "kernel", "torch, ms", "strips, ms", "times as fast")]
    for dtype in (torch.float32, torch.bfloat16):
        for kernel in (5, 7, 9):
            plain, strips = time_backward(kernel, dtype, (4, 64, 160, 160))
            name = str(dtype).removeprefix("torch.")
            times = (f"{plain * 1e3:.1f}", f"{strips * 1e3:.1f}", f"{plain / strips:.1f}")
            rows.append((name, f"{kernel}×{kernel}", *times))
    heading = f"depthwise forward and backward, (4, 64, 160, 160), {torch.get_num_threads()} threads"
    return "\n".join([heading, *in_columns(rows, "llrrr", indent=2)])
