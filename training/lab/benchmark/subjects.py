"""The models of a benchmark, and the forms (such as dense or sparse) in which each model runs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.data.images.letterbox import letterbox_image
from training.data.scenes.scenes import ScenesDataset
from training.errors import ConfigError
from training.export.contract.spec import route_top_ks
from training.lab.benchmark.hard_wired import chosen_experts, hard_wire
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.dynamic import mixes_for_each_image, mixes_kernels
from training.models.mixture.router import SpatialRouter
from training.models.variants import model_config
from training.rounds import Timed, time_with_progress
from training.skeleton import Skeleton
from training.tasks.choose import task_named
from training.trainer.checkpoint import BEST_FILE, MODEL_FILE, find_checkpoint, load_detector

CLASSES = tuple(f"class {index}" for index in range(80))
KEYPOINTS = Skeleton.unnamed(17)  # as many as COCO's persons have
VARIANT_INPUT_HW = (640, 640)
SEED = 0
SETTLING_IMAGES = 6  # one of every kind of generated scene

# dense: every expert computed. sparse: experts that are not chosen are skipped. bound: a graph that holds
# only the chosen experts. twin: dense once more, to measure how much the times of equal graphs differ.
Kind = Literal["dense", "twin", "sparse", "bound", "peer"]


@dataclass(frozen=True)
class Subject:
    """A model to measure, with its label and the top_k values to run it with."""

    label: str
    model: Detector
    top_ks: tuple[int, ...]  # values to run the model with; empty if it has no mixture layers

    @property
    def all_experts(self) -> int:
        """Return the top_k at which every expert runs."""
        return self.model.config.allowed_top_k[-1]


@dataclass(frozen=True)
class Form:
    """One way to run one model, such as esmoe-n sparse at top_k 2; the benchmark times each form."""

    label: str  # of a subject or a peer
    kind: Kind
    top_k: int | None = None  # None: it makes no difference to the time
    batch: int = 1


def named_variant(variant: str, input_hw: tuple[int, int], top_ks: Sequence[int] | None) -> Subject:
    """Return a variant with random weights and 80 classes; a pose network gets 17 keypoints.

    Raises:
        ConfigError: there is no such variant, or the variant does not support the input size or any value
            of `top_ks`.
    """
    torch.manual_seed(SEED)
    config = model_config(variant, CLASSES, input_hw, skeleton=KEYPOINTS)
    model = task_named(config.task).build(config)
    assert isinstance(model, Detector)  # the command takes no classifiers
    settle(model)
    return Subject(variant, model.eval(), _top_ks(model, top_ks, variant))


def checkpoint(path: Path, input_hw: tuple[int, int] | None, top_ks: Sequence[int] | None) -> Subject:
    """Return a trained model; if input_hw is None, the model keeps its input size.

    Raises:
        CheckpointError: the file is missing, is damaged, or is not a saved model.
        ConfigError: the model does not support the input size, or it supports no value of `top_ks`.
    """
    path = find_checkpoint(path)
    model, _ = load_detector(path)
    if input_hw is not None and input_hw != model.config.input_hw:
        resized = type(model)(replace(model.config, input_hw=input_hw))
        resized.load_state_dict(model.state_dict())
        model = resized.eval()
    if mixes_for_each_image(model.config):
        raise ConfigError(f"{path} has dynamic experts, which cannot be exported, so no graph can be timed")
    return Subject(label_of(path), model, _top_ks(model, top_ks, str(path)))


def label_of(checkpoint: Path) -> str:
    """Return the name of a checkpoint in a table: the name of its run's folder, or of the file."""
    in_a_run = checkpoint.name in (BEST_FILE, MODEL_FILE) and checkpoint.parent.name
    return checkpoint.parent.name if in_a_run else checkpoint.stem


def settle(model: Detector) -> None:
    """Give untrained batch norms and routers the statistics of images, as training would.

    Without statistics, activations shrink or grow from layer to layer, and routers give probabilities such
    as 1e-40. Computing with such small numbers is many times slower.
    """
    scenes = ScenesDataset(SETTLING_IMAGES, seed=SEED, image_hw=(384, 512))
    inputs = [letterbox_image(scenes.load(i).image, model.config.input_hw)[0] for i in range(len(scenes))]
    images = torch.from_numpy(np.stack(inputs))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
        model.eval()
        routers = [layer.router for layer in model.mixture_layers().values()]
        if model.path_router is not None:
            routers = [model.path_router.moments]
        for router in routers:  # in order: each layer changes the input of the next
            _settle_router(model, router, images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _settle_router(model: Detector, router: nn.Module, images: torch.Tensor) -> None:
    """Shift and scale the router's scores.

    Over `images`, the mean of each expert's scores becomes 0. The standard deviation of an expert's scores
    becomes 1, on average over the experts.
    """
    seen: list[torch.Tensor] = []
    hook = router.register_forward_hook(lambda module, inputs, logits: seen.append(logits))
    model(images)
    hook.remove()
    last = router.norm if isinstance(router, SpatialRouter) else router.score
    assert isinstance(last, nn.Linear | nn.Conv2d | nn.BatchNorm2d)
    (logits,) = seen
    scale = 1 / logits.std(dim=0).mean().clamp(min=1e-6)
    last.weight.mul_(scale)
    if last.bias is not None:
        last.bias.sub_(logits.mean(dim=0)).mul_(scale)


def benchmark_canvas(input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the model input of the benchmark: a generated scene, letterboxed to (H, W, 3)."""
    return letterbox_image(ScenesDataset(1, seed=7, image_hw=(384, 512)).load(0).image, input_hw)[0]


def forms(subject: Subject, batches: Sequence[int]) -> list[Form]:
    """Return the forms (dense, sparse, bound) in which a model is timed.

    Batches above 1 are timed in the dense form and, in a network with paths, with all images on one path.
    """
    label = subject.label
    found = [Form(label, "dense"), Form(label, "twin")]
    for top_k in subject.top_ks:
        found.append(Form(label, "sparse", top_k))
        if top_k != subject.all_experts:  # else the bound is the dense model
            found.append(Form(label, "bound", top_k))
    for batch in (each for each in batches if each != 1):
        found.append(Form(label, "dense", None, batch))
        if subject.model.config.paths is not None:
            found += [Form(label, "sparse", top_k, batch) for top_k in subject.top_ks]
    return found


def time_forms(
    runs: Mapping[Form, Callable[[], object]], labels: Collection[str], rounds: int, what: str
) -> Timed[Form]:
    """Time forms of models in turns until `rounds` rounds were quiet; `what` labels the progress bar.

    In a round, the dense graph of each model runs twice: as the form "dense" and as the form "twin". The
    round is quiet if both took about the same time.
    """
    twins = [(Form(label, "dense"), Form(label, "twin")) for label in labels]
    return time_with_progress(runs, twins, rounds, what)


def bound_of(subject: Subject, top_k: int) -> Detector:
    """Return a copy of the model with only the experts that are chosen for the benchmark's image."""
    canvas = benchmark_canvas(subject.model.config.input_hw)
    return hard_wire(subject.model, chosen_experts(subject.model, canvas, top_k))


def gflops(subject: Subject) -> dict[Form, float]:
    """Return the GFLOPs of every form of a subject, for one image."""
    dense = measure_cost(subject.model).dense
    found = {Form(subject.label, "dense"): dense}
    for top_k in subject.top_ks:
        chosen = dense if top_k == subject.all_experts else measure_cost(bound_of(subject, top_k)).dense
        found |= {Form(subject.label, kind, top_k): chosen for kind in ("sparse", "bound")}
    return found


def _top_ks(model: Detector, asked: Sequence[int] | None, name: str) -> tuple[int, ...]:
    """Return the values of `asked` that the model supports, in ascending order.

    If `asked` is None, use three values: 1, the model's default top_k, and the largest top_k that it allows.
    A network with paths has routes only for 1 and its default. If its experts are averaged, it has one form,
    as a network without experts.
    """
    config = model.config
    if not config.mixtures or mixes_kernels(config):
        return ()
    allowed = config.allowed_top_k if config.paths is None else route_top_ks(config)
    wanted = (1, config.top_k, allowed[-1]) if asked is None else asked
    found = tuple(sorted({top_k for top_k in wanted if top_k in allowed}))
    if not found:
        raise ConfigError(
            f"{name} runs with {', '.join(map(str, allowed))} experts; give one of them to --top-k"
        )
    return found
