"""Limits torch to one thread per test process, because the processes share the cores."""

import torch

torch.set_num_threads(1)
