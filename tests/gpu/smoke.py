"""Checks that mixed precision, channels-last weights, resuming and NCCL work on this GPU."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm

from tests.gpu.given import Given, cores, need_gpu, read_given
from tests.gpu.results import Results
from tests.gpu.sparsight import (
    SCENE_CLASS_NAMES,
    Detector,
    Request,
    ScenesConfig,
    TrainConfig,
    Trainer,
    build_config,
    model_config,
    open_dataset,
    synchronise_batch_norm,
)
from tests.gpu.steps import watch

STEPS, STOPPED_AFTER = 6, 3
# Largest relative difference of a loss. Kernels with atomic additions round differently in each run, and the
# steps amplify this. A wrong optimizer moment, gradient scale or batch would change losses by over 10 %.
BOUND = 0.02
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "onnx", "safetensors", "tensorboard")


@dataclass(frozen=True)
class Run:
    """The result of a training run of STEPS steps."""

    losses: list[float]
    last_step_s: float
    trainer: Trainer


def main() -> int:
    """Make every check; return 1 if one failed."""
    # cuBLAS reads this variable when it starts, which is before the deterministic run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    given = read_given()
    results = Results(given.results, "smoke")
    with results.check("machine") as found:
        found.update(machine(given.device))
    for precision in ("f16", "bf16"):
        with results.check(f"{precision}, channels-last, stopped and resumed") as found:
            if precision == "f16":
                need_gpu(given.device, "training in f16")
            config = replace(training(given), precision=precision)
            resumed_like_whole(config, BOUND, found)
    with results.check("one process of NCCL") as found, process_group(given.device, found):
        numbers = torch.tensor([1.0, 2.0, 3.0], device=given.device)
        dist.all_reduce(numbers)
        same(numbers.cpu(), torch.tensor([1.0, 2.0, 3.0]), 0.0)
        need_gpu(given.device, "synchronised batch norm")
        found["norm_difference"] = synchronised_norm_difference(given.device)
        found["model_difference"] = synchronised_model_difference(given.device)
    with results.check("deterministic, stopped and resumed") as found:
        resumed_like_whole(replace(training(given), deterministic=True), 0.0, found)
    return 1 if results.failed else 0


def machine(device: torch.device) -> dict[str, Any]:
    """Return the versions and the hardware on which the figures depend."""
    facts: dict[str, Any] = {"python": platform.python_version(), "cores": cores()}
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "none"
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["gpu_bytes"] = torch.cuda.get_device_properties(device).total_memory
        facts["cuda"], facts["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
        facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    return facts


def training(given: Given) -> TrainConfig:
    """Return a configuration of the recipe `starter` on generated scenes, with one epoch of STEPS steps."""
    batch, side = (2, 64) if given.smallest else (8, 320)
    scenes = ScenesConfig(images=STEPS * batch, image_hw=(side, side))
    request = Request(
        class_names=SCENE_CLASS_NAMES,
        train_data=scenes,
        variant="sparsight-n",
        overrides={"model.input_hw": (side, side), "epochs": 1, "batch_size": batch},
    )
    return build_config("starter", request)


def resumed_like_whole(config: TrainConfig, bound: float, found: dict[str, Any]) -> None:
    """Compare a run that was stopped and resumed with one that was not; also repeat the latter and compare.

    Raises:
        AssertionError: losses differ by more than the bound, or weights are no longer channels-last.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = whole_run(config, Path(folder, "whole"))
        again = whole_run(config, Path(folder, "again"))
        resumed = resumed_run(config, Path(folder, "stopped"))
    found["bound"] = bound
    found["losses_whole"], found["losses_resumed"] = whole.losses, resumed.losses
    found["repeated_differs"] = most_different(again.losses, whole.losses)
    found["resumed_differs"] = most_different(resumed.losses, whole.losses)
    found["step_s_whole"], found["step_s_resumed"] = whole.last_step_s, resumed.last_step_s
    found["scale_whole"] = whole.trainer.scaler.get_scale()
    found["scale_resumed"] = resumed.trainer.scaler.get_scale()
    for run in (whole, resumed):
        assert not plain_weights(run.trainer.model), f"not channels-last: {plain_weights(run.trainer.model)}"
    assert found["scale_whole"] == found["scale_resumed"], "the scale of gradients was not taken up"
    assert len(resumed.losses) == STEPS, f"{len(resumed.losses)} steps were taken, not {STEPS}"
    assert found["resumed_differs"] <= bound, f"losses differ by {found['resumed_differs']:.4g} of themselves"


def whole_run(config: TrainConfig, run_dir: Path) -> Run:
    """Train without a stop."""
    trainer = Trainer(config, open_dataset(config.train_data), run_dir)
    watched = watch(trainer)
    assert trainer.run().finished
    return Run(watched.losses, watched.ended_s[-1] - watched.ended_s[-2], trainer)


def resumed_run(config: TrainConfig, run_dir: Path) -> Run:
    """Train, stop after STOPPED_AFTER steps, and continue with a new trainer."""
    first = Trainer(config, open_dataset(config.train_data), run_dir)
    before = watch(first, stop_after=STOPPED_AFTER)
    assert not first.run().finished
    trainer = Trainer(config, open_dataset(config.train_data), run_dir)
    trainer.resume()
    after = watch(trainer)
    assert trainer.run().finished
    return Run([*before.losses, *after.losses], after.ended_s[-1] - after.ended_s[-2], trainer)


def most_different(got: list[float], want: list[float]) -> float:
    """Return the largest relative difference between the losses of the same step."""
    return max(abs(a - b) / abs(b) for a, b in zip(got, want, strict=True))


def plain_weights(model: nn.Module) -> list[str]:
    """Return the names of convolutions whose kernels are not channels-last."""
    return [
        name
        for name, weight in model.named_parameters()
        if weight.ndim == 4 and not weight.is_contiguous(memory_format=torch.channels_last)
    ]


@contextmanager
def process_group(device: torch.device, found: dict[str, Any]) -> Iterator[None]:
    """Join a process group of only this process, over NCCL on a GPU, otherwise over gloo."""
    found["backend"] = "nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group(found["backend"], init_method=meeting, rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


def synchronised_norm_difference(device: torch.device) -> float:
    """Return the largest difference between the kernels of synchronised batch norm and those of batch norm.

    nn.SyncBatchNorm uses its own kernels, which gather over NCCL, only with two or more processes. So this
    function calls these kernels directly.
    """
    x = torch.randn(4, 8, 16, 16, device=device)
    ones, zeros = torch.ones(8, device=device), torch.zeros(8, device=device)
    plain = functional.batch_norm(x, zeros.clone(), ones.clone(), ones, zeros, training=True)
    group = dist.group.WORLD
    got = SyncBatchNorm.apply(x, ones, zeros, zeros.clone(), ones.clone(), 1e-5, 0.1, group, 1)
    return same(got, plain, 1e-4)


def synchronised_model_difference(device: torch.device) -> float:
    """Return the largest change of class logits if every batch norm of sparsight-n is synchronised."""
    torch.manual_seed(0)
    model = Detector(model_config("sparsight-n", SCENE_CLASS_NAMES, (64, 64))).to(device).train()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, device=device)
    plain = model(images).class_logits.detach()
    names = list(model.state_dict())
    synchronised = synchronise_batch_norm(model).train()
    assert list(synchronised.state_dict()) == names
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synchronised.modules())
    logits = synchronised(images).class_logits
    logits.sum().backward()
    return same(logits.detach(), plain, 1e-3)


def same(got: Tensor, want: Tensor, bound: float) -> float:
    """Return the largest absolute difference of two tensors.

    Raises:
        AssertionError: the difference is above the bound.
    """
    difference = float((got - want).abs().max())
    assert difference <= bound, f"differs by {difference:.4g}, the bound is {bound:g}"
    return difference


if __name__ == "__main__":
    raise SystemExit(main())
