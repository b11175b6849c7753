"""Small real detectors for tests of training and export."""

from dataclasses import replace

import torch

from training.models.detector import Detector
from training.models.variants import model_config


def tiny_model(variant: str = "esmoe-n", *, num_experts: int = 4, top_k: int = 2) -> Detector:
    """A nano detector of two classes at 64 × 64 in evaluation mode, with routers that tell images apart.

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
            noise = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
            model((noise * torch.rand(4, 1, 1, 1)).to(torch.uint8))
        for layer in model.mixture_layers().values():
            layer.router.score.weight.mul_(60)
        for branch in (*model.head.class_branches, *model.head.box_branches):
            branch[-1].weight.mul_(20)
            branch[-1].bias.zero_()
    return model.eval()
