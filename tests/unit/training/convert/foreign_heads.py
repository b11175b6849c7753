"""Builds checkpoints of YOLO12 and YOLO-Master for tasks other than detection, as foreign_models.py does."""

from typing import Any

import torch
from torch import nn

from tests.unit.training.convert.foreign_models import Make, Mixture, Shells, foreign_model

MODEL_CLASSES = {"Segment": "Segmentation", "Pose": "Pose", "OBB": "OBB", "Classify": "Classification"}
EPSILON = 1e-5  # of a classifier's batch norms: PyTorch's default, as only detectors change it


def foreign_network(
    make: Make,
    head: str,
    *,
    size: str = "n",
    classes: int = 3,
    mixture: Mixture | None = None,
    points: int = 2,
) -> Any:
    """Return a whole model whose head is of the class `head`; a pose model has `points` keypoints."""
    model = foreign_model(make, size, classes, mixture)
    layers = list(model.model)
    shells = Shells(make, size)
    if head == "Classify":
        kinds = [type(layer).__name__ for layer in layers]
        layers = layers[: kinds.index("Upsample")]
        layers.append(classify_head(shells, classes))
        layers[-1].i, layers[-1].f = len(layers) - 1, -1
    else:
        layers[-1] = further_head(shells, head, layers[-1], points)
    kept = {key: getattr(model, key) for key in ("names", "yaml", "stride")}
    found = make(f"tasks.{MODEL_CLASSES[head]}Model", model=nn.Sequential(*layers), **kept)
    if head == "Classify":
        for part in found.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = EPSILON
    return found


def further_head(shells: Shells, head: str, detect: Any, points: int) -> Any:
    """Return a head with the parts of a detection head, and those of its task."""
    inputs = [branch[0].conv.in_channels for branch in detect.cv2]
    outputs = {"Segment": 32, "Pose": 3 * points, "OBB": 1}[head]
    width = max(inputs[0] // 4, outputs)
    settings: dict[str, Any] = {"kpt_shape": [points, 3]} if head == "Pose" else {}
    kept = {key: getattr(detect, key) for key in ("nc", "reg_max", "stride", "cv2", "cv3", "dfl", "i", "f")}
    branches = nn.ModuleList(
        nn.Sequential(shells.conv(width, c, 3), shells.conv(width, width, 3), nn.Conv2d(width, outputs, 1))
        for c in inputs
    )
    if head == "Segment":
        hidden = shells.widths[2]
        settings["proto"] = shells.make(
            "modules.block.Proto",
            cv1=shells.conv(hidden, inputs[0], 3),
            upsample=nn.ConvTranspose2d(hidden, hidden, 2, 2),
            cv2=shells.conv(hidden, hidden, 3),
            cv3=shells.conv(32, hidden),
        )
    return shells.make(f"modules.head.{head}", **kept, **settings, cv4=branches)


def classify_head(shells: Shells, classes: int) -> Any:
    """Return a classification head."""
    return shells.make(
        "modules.head.Classify",
        conv=shells.conv(1280, shells.widths[4]),
        pool=nn.AdaptiveAvgPool2d(1),
        drop=nn.Dropout(0.0),
        linear=nn.Linear(1280, classes),
    )


def normed(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Return what a batch norm computes from x (B, C, H, W) after training, by its definition."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
