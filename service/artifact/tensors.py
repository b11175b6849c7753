"""Define the manifest's rows for the inputs and outputs of a graph."""

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
"""The NumPy dtype for each dtype name of a manifest."""


class Part(BaseModel):
    """The base class of the manifest's JSON objects; it refuses unknown keys and values of a wrong type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TensorRow(Part):
    """One input or output of a graph. The engine finds it by its name, and the service by its role."""

    name: Annotated[str, Field(min_length=1)]
    dtype: DType
    dims: Annotated[tuple[Literal["B"] | Positive, ...], Field(min_length=1)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the dimensions after the batch dimension."""
        return tuple(dim for dim in self.dims if dim != "B")

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Return the tensor's NumPy dtype."""
        return NUMPY_DTYPES[self.dtype]

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the tensor's shape for `batch` images."""
        return (batch, *self.sizes)

    @model_validator(mode="after")
    def _the_batch_comes_first(self) -> Self:
        if self.dims[0] != "B" or "B" in self.dims[1:]:
            raise ValueError(f"{self.name}: dims must begin with B and have it once, not {list(self.dims)}")
        return self


class LetterboxResize(Part):
    """Letterbox: scale the whole image to fit into the model input, centred; fill the rest with pad_value."""

    mode: Literal["letterbox"]
    pad_value: Annotated[int, Field(ge=0, le=255)]
    interpolation: Literal["bilinear"]


class CenterCropResize(Part):
    """Centre crop: scale the image to cover the model input, and cut off the parts beyond the input."""

    mode: Literal["center_crop"]
    interpolation: Literal["bilinear"]


class ImagesInput(TensorRow):
    """The image input, uint8 (B, H, W, 3) RGB, and how images are resized to it."""

    dtype: Literal["u8"]
    role: Literal["images"]
    resize: Annotated[LetterboxResize | CenterCropResize, Field(discriminator="mode")]

    @property
    def canvas_hw(self) -> tuple[int, int]:
        """Return height and width of the model input, in pixels."""
        height, width, _ = self.sizes
        return height, width

    def blank(self) -> NDArray[np.uint8]:
        """Return a model input without an image, (1, H, W, 3), filled with the padding value."""
        fill = self.resize.pad_value if isinstance(self.resize, LetterboxResize) else 0
        return np.full(self.shape(1), fill, dtype=np.uint8)

    @model_validator(mode="after")
    def _is_an_image(self) -> Self:
        if len(self.sizes) != 3 or self.sizes[2] != 3:
            raise ValueError(f"{self.name}: dims must be [B, height, width, 3], not {list(self.dims)}")
        return self


class ControlInput(TensorRow):
    """A graph input with one number per image; a request sets it with its parameter of the same name."""

    role: Literal["control"]
    allowed: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    range: tuple[float, float] | None = None  # lowest and highest allowed number
    default: Number

    def accepts(self, value: Number) -> bool:
        """Return whether a request can set this control to `value`."""
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
        if np.issubdtype(self.numpy_dtype, np.integer):
            bounds = np.iinfo(self.numpy_dtype)
            values = self.allowed or (bounds.max + 1,)
            if not bounds.min <= min(values) <= max(values) <= bounds.max:
                raise ValueError(f"{self.name}: an input of {self.dtype} needs allowed values of that type")
        if self.allowed is not None and not isinstance(self.default, int):
            raise ValueError(f"{self.name}: default {self.default} is not a whole number")
        if not self.accepts(self.default):
            raise ValueError(
                f"{self.name}: default {self.default} is not one of {self.allowed or self.range}"
            )
        return self


InputRow = Annotated[ImagesInput | ControlInput, Field(discriminator="role")]


class Tolerance(Part):
    """The largest allowed difference from a golden value: absolute + relative · |golden value|."""

    absolute: NotNegative
    relative: NotNegative

    def limits(self, want: NDArray[Any]) -> NDArray[np.float64]:
        """Return the largest allowed difference for each golden value."""
        limits: NDArray[np.float64] = self.absolute + self.relative * np.abs(want.astype(np.float64))
        return limits


class OutputRow(TensorRow):
    """One output of a graph. The service fetches outputs with unknown roles, but ignores them."""

    role: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    tolerance: Tolerance
