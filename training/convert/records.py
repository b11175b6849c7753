"""The values that reading a foreign pickle returns: names, inert records, and tensors not yet loaded."""

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
    """The name of a class or function in a pickle. The class or function is never imported or called."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Record:
    """A pickled object as data: the name of its class, the constructor's arguments, and its attributes."""

    type: Global
    args: tuple[Any, ...]  # arguments of its constructor
    states: tuple[dict[Any, Any], ...] = ()  # its attributes, as in the file; items are not kept

    @property
    def kind(self) -> str:
        """Return the name of the record's class without its module, because classes move between modules."""
        return self.type.name

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or `default` if there is none."""
        return next((state[name] for state in self.states if name in state), default)

    def require(self, place: str, settings: Mapping[str, object]) -> None:
        """Raise CheckpointError if an attribute of this record differs from its value in `settings`.

        The message names `place`, which says where in the file the record is.
        """
        for name, value in settings.items():
            if self.get(name) != value:
                raise CheckpointError(
                    f"{place} ({self.kind}) has {name}={shown(self.get(name))}; expected {value!r}"
                )

    def __repr__(self) -> str:
        return f"<{self.type}>"


@dataclass(frozen=True, slots=True)
class Storage:
    """A sequence of numbers of one type, stored as one entry of the .pt archive."""

    key: str  # the archive's entry is data/<key>
    dtype: torch.dtype
    numel: int

    @property
    def nbytes(self) -> int:
        """Return the size of the storage in bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a view of a storage whose numbers are not yet read.

    Raises:
        CheckpointError: offset, shape and stride fit no tensor, or the tensor exceeds the storage.
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
        # A stride of 0 could make a huge tensor from few numbers, so the count is checked as well as the end.
        if self.numel and max(self.offset + last + 1, self.numel) > self.storage.numel:
            raise CheckpointError(
                f"tensor of shape {list(self.shape)}, stride {list(self.stride)} at {self.offset} "
                f"does not fit into its storage of {self.storage.numel} numbers"
            )

    @property
    def numel(self) -> int:
        """Return the number of elements of the tensor."""
        return math.prod(self.shape)


def is_plain(value: Any) -> bool:
    """Return whether a value is printable text of at most NAME_LIMIT characters."""
    return isinstance(value, str) and value.isprintable() and len(value) <= NAME_LIMIT


def plain_name(name: Any) -> str:
    """Return `name` if it is plain, and so safe to show in a message; otherwise raise CheckpointError."""
    if not is_plain(name):
        raise CheckpointError(f"a name that cannot be shown: {shown(name)}")
    return str(name)


def shown(value: Any) -> str:
    """Return a value from the file as short text for a message, however large or deeply nested it is."""
    return reprlib.repr(value)
