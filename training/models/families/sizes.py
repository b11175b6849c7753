"""The model sizes of YOLOv12 (arXiv:2502.12524, table 1), which all families use."""

from dataclasses import replace
from typing import Any

from training.config import ModelConfig

_DEEP = {"max_channels": 512, "deep_stages": True}
_LARGE = {**_DEEP, "depth": 1.0, "scaled_residual": True, "mlp_ratio": 1.2}
_SIZES: dict[str, dict[str, Any]] = {
    "n": {},
    "s": {"width": 0.5},
    "m": {**_DEEP, "width": 1.0},
    "l": {**_LARGE, "width": 1.0},
    "x": {**_LARGE, "width": 1.5},
}


def sized(config: ModelConfig, size: str) -> ModelConfig:
    """Return a model configuration scaled to a size: n, s, m, l or x."""
    return replace(config, **_SIZES[size])
