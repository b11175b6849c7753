"""The processes of one run, which torchrun starts. Each gets a share of every batch; all keep equal weights.

The model needs no wrapper such as DistributedDataParallel. Every process computes the loss of the whole batch
from sums over processes. Once in each step, the gradients of all processes are added up.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.data.loading.loader import Share
from training.errors import ConfigError, TrainingError

# The other processes wait while the first validates. They notice at once if a process dies.
LONGEST_WAIT = timedelta(hours=6)


class ProcessLost(TrainingError):
    """An error that says that another process of the run has ended.

    Every call that waits for the ended process raises this error.
    """

    def __init__(self) -> None:
        super().__init__(
            "another process of this run has ended, so this one ends too; the other's error is the reason. "
            "The same command continues from the last checkpoint."
        )


@dataclass(frozen=True)
class Processes:
    """The number of processes of a run, and the rank of this process among them.

    Every process must call the same methods in the same order, because a call waits until all other processes
    make the same call. It raises ProcessLost if another process has ended. With a single process, the methods
    leave tensors and gradients unchanged.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # rank among the processes on this machine, and the number of the GPU
    wanted: str | None = None  # name of the requested device; None: a GPU if there is one

    @property
    def first(self) -> bool:
        """Return whether this is the first process, which writes files, validates and logs."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Return the share of every batch that this process loads; all processes have equal shares."""
        return Share(self.rank, self.size)

    def device(self) -> torch.device:
        """Return the device that `on` set; otherwise this process's own GPU, or the CPU if there is no GPU.

        Raise ConfigError if this machine has fewer GPUs than processes.
        """
        if self.wanted is not None:
            return torch.device(self.wanted)
        if not torch.cuda.is_available():
            return torch.device("cpu")
        if self.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {self.local_rank + 1} on this machine has no GPU of its own; "
                f"use --nproc-per-node {torch.cuda.device_count()}"
            )
        return torch.device("cuda", self.local_rank) if self.size > 1 else torch.device("cuda")

    def on(self, wanted: str) -> "Processes":
        """Return a copy of this object that computes on the device named `wanted`.

        Raise ConfigError if this machine lacks the device, or if the run has several processes.
        """
        if self.size > 1:
            raise ConfigError("each of several processes has a device of its own: leave --device out")
        there = ["cpu"]
        if torch.cuda.is_available():
            there += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        if wanted not in there:
            raise ConfigError(f"no device {wanted} here; there are: {', '.join(there)}")
        return replace(self, wanted=wanted)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over processes; its gradient goes back to this process's `values` only.

        If every process computes a loss from such sums, each process gets a part of the loss's gradient. The
        caller must then call add_up_gradients to sum these parts over the processes.
        """
        return values if self.size == 1 else _Total.apply(values)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether `flag` is true in at least one process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=device)
        _add_up(flags)
        return bool(flags.item() > 0)

    def same(self, value: int, device: torch.device) -> bool:
        """Return whether `value` is the same number in all processes."""
        both = torch.tensor([value, -value], device=device)
        if self.size > 1:
            _collectively(lambda: dist.all_reduce(both, dist.ReduceOp.MAX))
        return bool(both.sum() == 0)

    def add_up_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Sum the gradients of parameters over processes; a gradient stays None if no process has one."""
        if self.size == 1:
            return
        own = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        has = own[0].new_tensor([each.grad is not None for each in parameters])
        flat = torch.cat([has, *(each.flatten() for each in own)])
        _add_up(flat)
        has, *summed = flat.split([len(own), *(each.numel() for each in own)])
        for parameter, gradient, values, processes in zip(parameters, own, summed, has.tolist(), strict=True):
            parameter.grad = gradient.copy_(values.view_as(gradient)) if processes else None

    def average_statistics(self, model: nn.Module) -> None:
        """Set the running statistics of batch norms to their mean over processes."""
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        kept = [each for norm in norms for each in (norm.running_mean, norm.running_var) if each is not None]
        if self.size == 1 or not kept:
            return
        flat = torch.cat(kept)
        _add_up(flat)
        for own, values in zip(kept, (flat / self.size).split([len(each) for each in kept]), strict=True):
            own.copy_(values)


ALONE = Processes()


@contextmanager
def joined(environment: Mapping[str, str]) -> Iterator[Processes]:
    """Connect this process to the others that torchrun started, and yield the Processes of the run.

    Without torchrun, yield a run of a single process. Processes communicate over NCCL if there are GPUs, and
    over gloo if there are none.

    Args:
        environment: environment variables; torchrun sets RANK, WORLD_SIZE and LOCAL_RANK among them.

    Raises:
        ConfigError: a variable is wrong, a process has no GPU, or the other processes cannot be reached.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    try:
        rank, size, local_rank = (int(environment[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        processes = Processes(rank, size, local_rank)
        device = processes.device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ConfigError(f"the processes of this run cannot find each other: {error}") from error
    try:
        yield processes
    finally:
        dist.destroy_process_group()


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """Return the model with batch norms that compute their statistics over the images of all processes.

    This works only on GPUs. The names of tensors do not change. A synchronised norm waits until every process
    calls it. Therefore an expert that runs in one process and not in another would block the run.
    TrainConfig.check_parts prevents this: it requires that experts with batch norm run on every image
    (`dense`). Frozen norms use their stored statistics, and do not wait.
    """
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        _add_up(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def _add_up(values: Tensor) -> None:
    _collectively(lambda: dist.all_reduce(values))


def _collectively(call: Callable[[], object]) -> None:
    try:
        call()
    except RuntimeError as error:  # raised by gloo and by NCCL
        raise ProcessLost from error
