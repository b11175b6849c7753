"""Options of an export for all of its targets."""

from dataclasses import dataclass
from typing import Literal

from training.errors import ConfigError
from training.export.contract.precision import Precision
from training.export.contract.spec import Execution

ExecutionChoice = Literal["auto", "sparse", "dense"]
Experts = Literal["all", "shared"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of one export, for all of its targets; check_options refuses unsupported options."""

    precision: Precision = "f32"
    execution: ExecutionChoice = "auto"  # openvino and onnx only; auto: the faster one on this machine
    calibration_images: int = 64  # number of training images that set the ranges of int8
    fixed_batch: int | None = None  # tensorrt only: exactly this many images instead of 1 to 8
    experts: Experts = "all"  # npu only; shared: without routed experts
    default_top_k: int | None = None  # default of the control top_k; None: chosen, or as trained
    default_threshold: float | None = None  # default of the control weight_threshold; None: as above
    choice_images: int = 256  # number of training images on which the defaults are chosen; 0: as trained
    baseline_images: int = 300  # number of images whose routing servers compare with; 0: none
    unproved: bool = False  # also release an artifact that proves nothing, marked as such

    def __post_init__(self) -> None:
        if self.calibration_images < 2:
            raise ConfigError(f"calibration_images={self.calibration_images} is not a whole number from 2")
        if self.choice_images < 0:
            raise ConfigError(f"choice_images={self.choice_images} is not a whole number from 0")
        if self.baseline_images < 0:
            raise ConfigError(f"baseline_images={self.baseline_images} is not a whole number from 0")
        if self.default_threshold is not None and not 0 <= self.default_threshold <= 1:
            raise ConfigError(f"default_threshold={self.default_threshold} is not from 0 to 1")
        if self.fixed_batch is not None and self.fixed_batch < 1:
            raise ConfigError(f"fixed_batch={self.fixed_batch} is not a whole number from 1")

    def execution_of(self, has_mixture: bool) -> Execution:
        """Return whether to build a sparse or a dense graph, for a target whose graphs can skip experts.

        For the option `auto`, return sparse. The graph of a model without mixture layers is always dense.
        """
        return "sparse" if has_mixture and self.execution != "dense" else "dense"


USUAL = ExportOptions()
