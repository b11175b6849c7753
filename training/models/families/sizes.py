"""The sizes of YOLOv12 (arXiv:2502.12524, table 1), which every family scales by."""

from dataclasses import replace

from training.config import ModelConfig
from training.errors import ConfigError


def sized(config: ModelConfig, size: str) -> ModelConfig:
    """Return the plain model of a size: n, s, m, l or x.

    Raises:
        ConfigError: another letter.
    """
    match size:
        case "n":
            return config
        case "s":
            return replace(config, width=0.5)
        case "m":
            return replace(config, width=1.0, max_channels=512, deep_stages=True)
        case "l" | "x":
            large = replace(
                config, depth=1.0, max_channels=512, deep_stages=True, scaled_residual=True, mlp_ratio=1.2
            )
            return replace(large, width=1.0 if size == "l" else 1.5)
        case _:
            raise ConfigError(f"no size {size!r}; there are n, s, m, l and x")
