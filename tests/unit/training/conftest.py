"""One thread of torch for each test process: several processes that fight for cores are slower than one."""

import torch

torch.set_num_threads(1)
