"""Small real networks for tests of training and export."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from training.config import PLAIN_PLACES, ModelConfig
from training.data.scenes import CLASS_NAMES as SCENE_CLASSES
from training.data.scenes import ClassScenesDataset
from training.evaluate.mean_ap import MeanAp
from training.export.graph.export_graph import Eager
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.models.layers import BN_MOMENTUM
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.router import MomentsRouter, PooledRouter, SpatialRouter
from training.models.network import Network
from training.models.variants import MixtureChoice, model_config

# Narrow, since untrained maps hardly differ: what spreads their scores spreads their rounding as well.
LOGIT_SPREAD = 0.5
BOX_SPREAD = 0.5  # at stride 32 a box logit that is off by 1e-5 may move a side by a thousandth of a pixel
MOMENTUM = 0.32


def mean_ap(map50_95: float, map50: float, map75: float) -> MeanAp:
    """Three figures, and nothing known by class, size or recall."""
    sizes = dict.fromkeys(("map50_95_small", "map50_95_medium", "map50_95_large"))
    recalls = dict.fromkeys(("ar100_small", "ar100_medium", "ar100_large"))
    return MeanAp(map50_95, map50, map75, {}, {}, **sizes, ar1=0, ar10=0, ar100=0, **recalls)


def tiny_model(variant: str = "esmoe-n", *, num_experts: int = 4, top_k: int = 2) -> Detector:
    """A nano detector of two classes at 64 × 64 in evaluation mode, whose routers tell images apart."""
    choice = MixtureChoice(num_experts=num_experts, top_k=top_k) if variant == "esmoe-n" else None
    return conditioned(model_config(variant, ("disc", "ring"), (64, 64), choice))


def shallow(config: ModelConfig) -> ModelConfig:
    """The mixtures of a network and little else: every other operator takes its time, to trace above all."""
    return replace(config, depth=0.25, plain_stages=PLAIN_PLACES)


def plain_model(*, num_experts: int = 2, top_k: int = 1) -> Detector:
    """Return a shallow tiny_model."""
    choice = MixtureChoice(num_experts=num_experts, top_k=top_k)
    return conditioned(shallow(model_config("esmoe-n", ("disc", "ring"), (64, 64), choice)))


def conditioned(config: ModelConfig) -> Detector:
    """Return an untrained detector for 64 × 64, in evaluation mode, whose answers are worth comparing.

    Fresh batch norms pass their input on, so statistics are first taken from noise; scores and box logits
    are spread, so that a comparison of two runs compares something.
    """
    torch.manual_seed(0)
    model = Detector(config).train()
    with torch.no_grad():
        _take_statistics(model)
        model.eval()
        for layer in model.mixture_layers().values():
            _spread_router(model, layer)
        _spread_predictions(model)
    return model


def settled(config: ModelConfig, images: Tensor) -> Detector:
    """An untrained detector whose batch norms keep the statistics of these pictures, as if it knew them.

    Its boxes are about a cell wide, so that some overlap what is there.
    """
    torch.manual_seed(0)
    model = Detector(config).train()
    norms = _norms(model)
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(images)
        for branch in model.head.box_branches:
            branch[-1].bias.copy_(-torch.arange(config.reg_max).repeat(4))
    for norm in norms:
        norm.momentum = BN_MOMENTUM
    return model


def diverse_images(count: int) -> Tensor:
    """Noise of every grain, brightness and tint, (count, 64, 64, 3) uint8."""
    images = []
    for index in range(count):
        grain = 2 ** (index % 6)  # 1 to 32 pixels
        cells = torch.rand(64 // grain, 64 // grain, 3)
        noise = cells.repeat_interleave(grain, dim=0).repeat_interleave(grain, dim=1)
        images.append((255 * noise * torch.rand(3)).to(torch.uint8))
    return torch.stack(images)


def bright_images(count: int) -> Tensor:
    """Which untrained networks answer more wildly than others, (count, 64, 64, 3) uint8."""
    return (255 * torch.rand(count, 64, 64, 3) ** 0.2).to(torch.uint8)


def _norms(model: Network) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _take_statistics(model: Detector) -> None:
    """Most of the way from fresh to true statistics: with true ones an untrained network is chaotic."""
    norms = _norms(model)
    for norm in norms:
        norm.momentum = MOMENTUM
    for _ in range(9):
        model(torch.cat([diverse_images(6), bright_images(1)]))
    for norm in norms:
        norm.momentum = BN_MOMENTUM


def _spread_predictions(model: Detector) -> None:
    """Scale what ends the head's branches: class logits get deviation 1, box logits BOX_SPREAD.

    Over bright images too, which untrained networks answer more wildly.
    """
    last = [
        module for module in model.head.modules() if isinstance(module, nn.Conv2d) and module.bias is not None
    ]
    for module in last:
        module.bias.zero_()
    images = diverse_images(6)
    bright = images + (255 - images.amax(dim=(1, 2, 3), keepdim=True))
    predictions = model(torch.cat([images, bright]))
    for module in last:
        is_box = module.out_channels == 4 * model.config.reg_max
        scale = BOX_SPREAD / predictions.box_logits.std() if is_box else 1 / predictions.class_logits.std()
        module.weight.mul_(scale)


def _spread_router(model: Network, layer: MixtureLayer) -> None:
    """Shift and scale a router so that its scores over diverse images have mean 0 and a wide spread."""
    router = layer.router
    if isinstance(router, PooledRouter | MomentsRouter):  # what all scores share, the softmax does not see
        router.score.weight.sub_(router.score.weight.mean(dim=0))
    last = router.norm if isinstance(router, SpatialRouter) else router.score
    seen: list[Tensor] = []
    hook = router.register_forward_hook(lambda module, inputs, logits: seen.append(logits))
    model(diverse_images(16))
    hook.remove()
    mean, spread = seen[0].mean(dim=0), seen[0].std(dim=0)
    scale = LOGIT_SPREAD / spread
    last.weight.mul_(scale.reshape(-1, *[1] * (last.weight.ndim - 1)))
    last.bias.sub_(mean).mul_(scale)


def taught_classifier(variant: str = "esmoe-n-cls") -> Classifier:
    """Return a shallow classifier that has seen ten scenes for seconds; its routers tell images apart."""
    torch.manual_seed(0)
    model = Classifier(shallow(model_config(variant, SCENE_CLASSES, (64, 64)))).train()
    scenes = [ClassScenesDataset(10, seed=0, image_hw=(64, 64)).load(index) for index in range(10)]
    images = torch.from_numpy(np.stack([scene.image for scene in scenes]))
    classes = torch.tensor([scene.image_class for scene in scenes])
    for norm in _norms(model):
        norm.momentum = MOMENTUM
    for steps in (1, 10, 10, 10):
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images).class_logits, classes).backward()
            optimizer.step()
        with torch.no_grad():
            model.eval()
            for layer in model.mixture_layers().values():
                _spread_router(model, layer)
                layer.router.requires_grad_(False)
        model.train()
    return model.eval()


def reference_outputs(model, spec, canvas, controls):
    """Return what the checkpoint itself answers for an image (H, W, 3) in eager float32, by name."""
    return Eager(model, spec).answer(canvas, controls)
