"""What the calls of every task stand on: a client brings a task's parameters to its server."""

from typing import Any, TypeVar

from numpy.typing import NDArray

from ..tensors import Params

R = TypeVar("R")

Image = bytes | NDArray[Any]
"""An image file's bytes, or (H, W, 3) uint8 RGB pixels."""


class Caller:
    """A client; each task's calls are a class above this one."""

    def _run(self, image: Image, params: Params[R]) -> R:
        """Return what the server makes of one image."""
        raise NotImplementedError


class AsyncCaller:
    """The same for asyncio."""

    async def _run(self, image: Image, params: Params[R]) -> R:
        """Return what the server makes of one image."""
        raise NotImplementedError
