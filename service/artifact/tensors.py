"""The rows of a manifest: what a graph takes and gives."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.request import Number

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
DType = Literal["u8", "i32", "i64", "f16", "f32", "bool"]

NUMPY_DTYPES: Mapping[str, np.dtype[Any]] = {
    "u8": np.dtype(np.uint8),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "bool": np.dtype(np.bool_),
}
"""What each dtype of a row is in numpy."""


class Part(BaseModel):
    """A JSON object with no unknown keys and no coerced values: guessing is how wrong boxes are served."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TensorRow(Part):
    """One input or output. Its name is only what the engine calls it; what it means is its role."""

    name: Annotated[str, Field(min_length=1)]
    dtype: DType
    dims: Annotated[tuple[Literal["B"] | Positive, ...], Field(min_length=1)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the dimensions behind the batch."""
        return tuple(dim for dim in self.dims if dim != "B")

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Return what the values are in numpy."""
        return NUMPY_DTYPES[self.dtype]

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape for so many images."""
        return (batch, *self.sizes)

    @model_validator(mode="after")
    def _the_batch_comes_first(self) -> Self:
        if self.dims[0] != "B" or "B" in self.dims[1:]:
            raise ValueError(f"{self.name}: dims must begin with B, and hold it once, not {list(self.dims)}")
        return self


class LetterboxResize(Part):
    """The whole image in the canvas, centred, the rest filled."""

    mode: Literal["letterbox"]
    pad_value: Annotated[int, Field(ge=0, le=255)]
    interpolation: Literal["bilinear"]


class CenterCropResize(Part):
    """The canvas filled by the middle of the image."""

    mode: Literal["center_crop"]
    interpolation: Literal["bilinear"]


class ImagesInput(TensorRow):
    """The image input: uint8 (B, H, W, 3) RGB."""

    dtype: Literal["u8"]
    role: Literal["images"]
    resize: Annotated[LetterboxResize | CenterCropResize, Field(discriminator="mode")]

    @property
    def canvas_hw(self) -> tuple[int, int]:
        """Return height and width of the canvas."""
        height, width, _ = self.sizes
        return height, width

    def blank(self) -> NDArray[np.uint8]:
        """Return a canvas without an image on it, (1, H, W, 3)."""
        fill = self.resize.pad_value if isinstance(self.resize, LetterboxResize) else 0
        return np.full(self.shape(1), fill, dtype=np.uint8)

    @model_validator(mode="after")
    def _is_an_image(self) -> Self:
        if len(self.sizes) != 3 or self.sizes[2] != 3:
            raise ValueError(f"{self.name}: dims must be [B, height, width, 3], not {list(self.dims)}")
        return self


class ControlInput(TensorRow):
    """A number for each image that a request may choose by the input's name."""

    role: Literal["control"]
    allowed: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    range: tuple[float, float] | None = None  # lowest and highest
    default: Number

    def accepts(self, value: Number) -> bool:
        """Tell whether the graph takes this value."""
        if self.allowed is not None:
            return value in self.allowed
        low, high = self.range or (0.0, 0.0)
        return low <= value <= high

    @model_validator(mode="after")
    def _says_what_it_takes(self) -> Self:
        if (self.allowed is None) == (self.range is None):
            raise ValueError(f"{self.name}: either allowed or range is needed")
        if self.sizes != (1,):
            raise ValueError(f"{self.name}: dims must be [B, 1], not {list(self.dims)}")
        if self.allowed is not None and not isinstance(self.default, int):
            raise ValueError(f"{self.name}: default {self.default} is not a whole number")
        if not self.accepts(self.default):
            raise ValueError(
                f"{self.name}: default {self.default} is not one of {self.allowed or self.range}"
            )
        return self


InputRow = Annotated[ImagesInput | ControlInput, Field(discriminator="role")]


class Tolerance(Part):
    """How far a value may be from the golden one: absolute + relative · |golden|."""

    absolute: NotNegative
    relative: NotNegative

    def limits(self, want: NDArray[Any]) -> NDArray[np.float64]:
        """Return the largest allowed difference for each golden value."""
        limits: NDArray[np.float64] = self.absolute + self.relative * np.abs(want.astype(np.float64))
        return limits


class OutputRow(TensorRow):
    """One output. Roles that this service does not know are fetched and ignored."""

    role: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    tolerance: Tolerance
