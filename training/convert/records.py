"""What a foreign pickle becomes when it is read: names, inert records, and tensors not yet loaded."""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from training.errors import CheckpointError

NAME_LIMIT = 200  # characters


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function. Never imported, never called."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Record:
    """An object as far as it is read: the name of its class and what it held."""

    type: Global
    args: tuple[Any, ...] = ()  # what it was to be made from
    states: tuple[dict[Any, Any], ...] = ()  # its attributes, as the file has them
    items: list[Any] | None = None  # of a subclass of list or set
    entries: dict[Any, Any] | None = None  # of a subclass of dict

    @property
    def kind(self) -> str:
        """Return the class's own name, without its module: modules move between releases."""
        return self.type.name

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return next((state[name] for state in self.states if name in state), default)

    def require(self, place: str, settings: Mapping[str, object]) -> None:
        """Raise CheckpointError, which names the place, where an attribute is not as in settings."""
        for name, value in settings.items():
            if self.get(name) != value:
                raise CheckpointError(
                    f"{place} ({self.kind}) has {name}={shown(self.get(name))}; expected {value!r}"
                )

    def __repr__(self) -> str:
        return f"<{self.type}>"


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the archive."""

    key: str  # its entry is data/<key>
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A view of a storage, not yet read.

    Raises:
        CheckpointError: when made, if it would reach outside its storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        whole = all(type(n) is int and n >= 0 for n in (self.offset, *self.shape, *self.stride))
        if not whole or len(self.shape) != len(self.stride) or len(self.shape) > 8:
            raise CheckpointError(f"offset, shape and stride that fit no tensor: {shown(self.shape)}")
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        # A stride of 0 would make much out of little: the count is checked as well as the last place.
        if self.numel and max(self.offset + last + 1, self.numel) > self.storage.numel:
            raise CheckpointError(f"{self} does not lie in its storage of {self.storage.numel} numbers")

    @property
    def numel(self) -> int:
        """Return how many numbers it has."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"tensor of shape {list(self.shape)}, stride {list(self.stride)} at {self.offset}"


def plain_name(name: Any) -> str:
    """Return a name that a message may show as it is.

    Raises:
        CheckpointError: it is no text, has characters that a terminal would act on, or is too long.
    """
    if not isinstance(name, str) or not name.isprintable() or len(name) > NAME_LIMIT:
        raise CheckpointError(f"a name that cannot be shown: {shown(name)}")
    return name


def shown(value: Any) -> str:
    """Return a foreign value as text for a message: short, and however deep it is."""
    return reprlib.repr(value)
