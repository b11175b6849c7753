"""Small real networks for tests of training and export."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from training.config import PLAIN_PLACES, ModelConfig, TaskName
from training.data.scenes.scenes import CLASS_NAMES as SCENE_CLASSES
from training.data.scenes.scenes import ClassScenesDataset
from training.evaluate.mean_ap import MeanAp
from training.export.graph.export_graph import Eager
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.models.layers import BN_MOMENTUM
from training.models.mixture.router import MomentsRouter, PooledRouter, SpatialRouter
from training.models.network import Network
from training.models.oriented_detector import OrientedDetector
from training.models.pose_estimator import PoseEstimator
from training.models.segmenter import Segmenter
from training.models.variants import MixtureChoice, model_config
from training.skeleton import Skeleton

# Small: feature maps of untrained networks hardly differ, and scaling up scores scales up rounding errors.
LOGIT_SPREAD = 0.5
BOX_SPREAD = 0.5  # at stride 32, an error of 1e-5 in a box logit may move a side by a thousandth of a pixel
MOMENTUM = 0.32


def mean_ap(map50_95: float, map50: float, map75: float) -> MeanAp:
    """Return a mAP result with these figures, without figures by class or size and without recall."""
    sizes = dict.fromkeys(("map50_95_small", "map50_95_medium", "map50_95_large"))
    recalls = dict.fromkeys(("ar100_small", "ar100_medium", "ar100_large"))
    return MeanAp(map50_95, map50, map75, {}, {}, **sizes, ar1=0, ar10=0, ar20=None, ar100=0, **recalls)


def tiny_model(variant: str = "esmoe-n", *, num_experts: int = 4, top_k: int = 2) -> Detector:
    """Return a nano detector of two classes at 64 × 64, in evaluation mode; its routers tell images apart."""
    choice = MixtureChoice(num_experts=num_experts, top_k=top_k) if variant == "esmoe-n" else None
    return conditioned(model_config(variant, ("disc", "ring"), (64, 64), choice))


def shallow(config: ModelConfig) -> ModelConfig:
    """Return a network of mixture layers and few other layers, because each layer makes tracing slower."""
    return replace(config, depth=0.25, plain_stages=PLAIN_PLACES)


def plain_model(*, num_experts: int = 2, top_k: int = 1) -> Detector:
    """Return the shallow variant of tiny_model."""
    return conditioned(plain_config(num_experts=num_experts, top_k=top_k))


def plain_config(*, num_experts: int = 2, top_k: int = 1) -> ModelConfig:
    """Return the configuration of plain_model."""
    choice = MixtureChoice(num_experts=num_experts, top_k=top_k)
    return shallow(model_config("esmoe-n", ("disc", "ring"), (64, 64), choice))


def shaped_model(task: TaskName) -> Detector:
    """Return what plain_model returns, for task segment, pose or obb: its answers hold more than boxes."""
    points = Skeleton(names=("nose", "left", "right"), flip_ids=(0, 2, 1), edges=((0, 1), (0, 2)))
    networks = {"segment": Segmenter, "pose": PoseEstimator, "obb": OrientedDetector}
    skeleton = points if task == "pose" else None
    return conditioned(replace(plain_config(), task=task, skeleton=skeleton), networks[task])


def conditioned(config: ModelConfig, network: type[Detector] = Detector) -> Detector:
    """Return an untrained detector for 64 × 64, in evaluation mode, whose answers differ between images.

    An untrained detector gives nearly equal scores and boxes for all images, so a comparison of two runs
    would prove nothing. Therefore batch norms get statistics from noise images, and scores and box logits
    are scaled to a wider spread.
    """
    torch.manual_seed(0)
    model = network(config).train()
    with torch.no_grad():
        _take_statistics(model)
        model.eval()
        _spread_routers(model)
        _spread_predictions(model)
    return model


def settled(config: ModelConfig, images: Tensor) -> Detector:
    """Return an untrained detector whose batch norms have the statistics of these images, as after training.

    Its boxes are about a grid cell wide, so that some of them overlap the objects.
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
    """Return noise images (count, 64, 64, 3) uint8 of different grain, brightness and tint."""
    images = []
    for index in range(count):
        grain = 2 ** (index % 6)  # 1 to 32 pixels
        cells = torch.rand(64 // grain, 64 // grain, 3)
        noise = cells.repeat_interleave(grain, dim=0).repeat_interleave(grain, dim=1)
        images.append((255 * noise * torch.rand(3)).to(torch.uint8))
    return torch.stack(images)


def bright_images(count: int) -> Tensor:
    """Return bright images (count, 64, 64, 3) uint8, for which outputs of untrained networks vary most."""
    return (255 * torch.rand(count, 64, 64, 3) ** 0.2).to(torch.uint8)


def _norms(model: Network) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _take_statistics(model: Detector) -> None:
    """Move batch norm statistics most of the way to the true ones; all the way amplifies rounding errors."""
    norms = _norms(model)
    for norm in norms:
        norm.momentum = MOMENTUM
    for _ in range(9):
        model(torch.cat([diverse_images(6), bright_images(1)]))
    for norm in norms:
        norm.momentum = BN_MOMENTUM


def _spread_predictions(model: Detector) -> None:
    """Scale the heads' last layers: class logits get standard deviation 1, box logits BOX_SPREAD.

    What else the network predicts for each anchor gets 1, too. The deviations include bright images, for
    which the outputs of untrained networks vary most.
    """
    last = [
        module for module in model.head.modules() if isinstance(module, nn.Conv2d) and module.bias is not None
    ]
    further = [branch[-1] for branch in _further_branches(model)]
    for module in last:
        module.bias.zero_()
    images = diverse_images(6)
    bright = images + (255 - images.amax(dim=(1, 2, 3), keepdim=True))
    predictions = model(torch.cat([images, bright]))
    for module in further:
        assert predictions.extras is not None
        module.weight.mul_(1 / predictions.extras.std())
        module.bias.zero_()
    for module in last:
        is_box = module.out_channels == 4 * model.config.reg_max
        scale = BOX_SPREAD / predictions.box_logits.std() if is_box else 1 / predictions.class_logits.std()
        module.weight.mul_(scale)


def _further_branches(model: Detector) -> nn.ModuleList:
    """Return the branches, one for each level, for what the network predicts beside boxes and classes."""
    match model:
        case Segmenter():
            return model.masks.coefficients.levels
        case PoseEstimator():
            return model.keypoints.levels
        case OrientedDetector():
            return model.angles.levels
        case _:
            return nn.ModuleList()


def _spread_routers(model: Network) -> list[nn.Module]:
    """Spread the scores of every router of a network, in the order in which they run; return the routers.

    In a network with paths, this is the one router that chooses the path.
    """
    if model.path_router is not None:
        routers: list[nn.Module] = [model.path_router.moments]
    else:
        routers = [layer.router for layer in model.mixture_layers().values()]
    for router in routers:
        _spread_router(model, router)
    return routers


def _spread_router(model: Network, router: nn.Module) -> None:
    """Shift and scale a router so that its scores over diverse images have mean 0 and a wide spread."""
    if isinstance(router, PooledRouter | MomentsRouter):  # a shift of all scores does not change the softmax
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
    """Return a shallow classifier, trained for seconds on ten scenes; its routers tell images apart."""
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
            for router in _spread_routers(model):
                router.requires_grad_(False)
        model.train()
    return model.eval()


def reference_outputs(model, spec, canvas, controls):
    """Return a checkpoint's outputs by name for an image (H, W, 3), computed in PyTorch in float32."""
    return Eager(model, spec).answer(canvas, controls)
