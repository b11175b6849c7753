"""YOLOv12 (arXiv:2502.12524): no mixture."""

from training.config import ModelConfig
from training.models.families.family import Family


def _configure(config: ModelConfig, size: str) -> ModelConfig:
    del size
    return config


YOLOV12 = Family(name="yolov12", sizes="nsmlx", tasks=("detect", "classify"), configure=_configure)
