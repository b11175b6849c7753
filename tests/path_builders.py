"""Small real networks with paths, for tests of exports."""

from dataclasses import replace

import torch
from torch import Tensor

from tests.training_builders import conditioned, diverse_images
from training.config import ExpertKind, ModelConfig, PathConfig, TaskName
from training.export.graph.fixed_path import one_hot
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.network import Network
from training.models.oriented_detector import OrientedDetector
from training.models.pose_estimator import PoseEstimator
from training.models.segmenter import Segmenter
from training.models.variants import MixtureChoice, model_config
from training.skeleton import Skeleton

SKELETON = Skeleton(names=("nose", "left", "right"), flip_ids=(0, 2, 1), edges=((0, 1), (0, 2)))
NETWORKS = {"detect": Detector, "segment": Segmenter, "pose": PoseEstimator, "obb": OrientedDetector}
SUFFIXES = {"detect": "", "classify": "-cls", "segment": "-seg", "pose": "-pose", "obb": "-obb"}


def path_model(
    task: TaskName = "detect", *, count: int = 3, depth: float = 0.25, expert: ExpertKind | None = None
) -> Network:
    """Return an untrained sparsight-path-n with `count` paths for 64 x 64, in evaluation mode.

    Its paths differ in experts and weights, and its router sends images of different colours on different
    paths. `expert` is the kind of its experts; None: as in the variant.
    """
    skeleton = SKELETON if task == "pose" else None
    choice = MixtureChoice(expert=expert)
    config = model_config(f"sparsight-path-n{SUFFIXES[task]}", ("disc", "ring"), (64, 64), choice, skeleton)
    config = replace(config, depth=depth, paths=PathConfig(count=count))
    torch.manual_seed(0)
    model = _classifier(config) if task == "classify" else conditioned(config, NETWORKS[task])
    spread_paths(model)
    return model


@torch.no_grad()
def _classifier(config: ModelConfig) -> Classifier:
    """Return an untrained classifier whose class logits have standard deviation 1 over images and paths."""
    model, count = Classifier(config).train(), config.paths.count

    def logits() -> Tensor:
        ways = [one_hot(path, count).expand(8, -1) for path in range(count)]
        return torch.cat(
            [model(diverse_images(8), RoutingControls(config.top_k, path=way)).class_logits for way in ways]
        )

    for _ in range(20):
        logits()
    model.eval()
    found = logits()
    scale = 1 / found.std(dim=0)
    model.head.score.weight.mul_(scale[:, None])
    model.head.score.bias.sub_(found.mean(dim=0)).mul_(scale)
    return model


@torch.no_grad()
def spread_paths(model: Network) -> None:
    """Scale the path router so that its scores over diverse images have mean 0 and a wide spread."""
    torch.manual_seed(1)
    pixels = (diverse_images(32).float() / 255).permute(0, 3, 1, 2)
    logits = model.path_router(pixels)
    score = model.path_router.moments.score
    scale = 2 / logits.std(dim=0)
    score.weight.mul_(scale[:, None])
    score.bias.sub_(logits.mean(dim=0)).mul_(scale)
