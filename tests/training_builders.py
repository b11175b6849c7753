"""Small real detectors for tests of training and export."""

from dataclasses import replace

import torch
from torch import Tensor

from training.models.detector import Detector
from training.models.mixture.layer import MixtureLayer
from training.models.variants import model_config

# Narrow, since untrained maps hardly differ: what spreads their scores spreads their rounding as well.
LOGIT_SPREAD = 0.5


def tiny_model(variant: str = "esmoe-n", *, num_experts: int = 4, top_k: int = 2) -> Detector:
    """A nano detector of two classes at 64 × 64 in evaluation mode, whose routers tell images apart.

    Fresh batch norms pass their input on, so statistics are first taken from noise; scores and box logits
    are spread, so that a comparison of two runs compares something.
    """
    torch.manual_seed(0)
    config = model_config(variant, ("disc", "ring"), (64, 64))
    if config.mixture:
        kernels = config.mixture.kernel_sizes[:num_experts]
        mixture = replace(config.mixture, num_experts=num_experts, kernel_sizes=kernels, top_k=top_k)
        config = replace(config, mixture=mixture)
    model = Detector(config).train()
    with torch.no_grad():
        for _ in range(20):
            model(diverse_images(4))
        model.eval()
        for layer in model.mixture_layers().values():
            _spread_router(model, layer)
        for branch in (*model.head.class_branches, *model.head.box_branches):
            branch[-1].weight.mul_(20)
            branch[-1].bias.zero_()
    return model


def diverse_images(count: int) -> Tensor:
    """Noise of every brightness and tint, (count, 64, 64, 3) uint8."""
    noise = torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8)
    return (noise * torch.rand(count, 1, 1, 3)).to(torch.uint8)


def _spread_router(model: Detector, layer: MixtureLayer) -> None:
    """Shift and scale a router so that its scores over diverse images have mean 0 and a wide spread."""
    score = layer.router.score
    score.weight.sub_(score.weight.mean(dim=0))  # what all scores share, the softmax does not see
    seen: list[Tensor] = []
    hook = layer.router.register_forward_hook(lambda module, inputs, logits: seen.append(logits))
    model(diverse_images(16))
    hook.remove()
    mean, spread = seen[0].mean(dim=0), seen[0].std(dim=0)
    scale = LOGIT_SPREAD / spread
    score.weight.mul_(scale[:, None])
    score.bias.sub_(mean).mul_(scale)
