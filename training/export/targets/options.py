"""What a person may ask of an export beyond its targets."""

from dataclasses import dataclass
from typing import Literal

from training.errors import ConfigError
from training.export.contract.precision import Precision

ExecutionChoice = Literal["auto", "sparse", "dense"]
Experts = Literal["all", "shared"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Choices that hold for every target of one export; a target that cannot follow one refuses it."""

    precision: Precision = "f32"
    execution: ExecutionChoice = "auto"  # of targets openvino, onnx; auto: the faster on this machine
    calibration_images: int = 64  # of precision int8: how many images of training
    fixed_batch: int | None = None  # of target tensorrt: exactly this many images instead of 1 to 8
    experts: Experts = "all"  # of target npu; shared: the graph without routed experts

    def __post_init__(self) -> None:
        if self.calibration_images < 2:
            raise ConfigError(f"calibration_images={self.calibration_images} is not a whole number from 2")
        if self.fixed_batch is not None and self.fixed_batch < 1:
            raise ConfigError(f"fixed_batch={self.fixed_batch} is not a whole number from 1")


USUAL = ExportOptions()
