"""Define what a task's calls need from a client: it sends an image with parameters, and reads the answer."""

from typing import Any, TypeVar

from numpy.typing import NDArray

from ..tensors import Params

R = TypeVar("R")

Image = bytes | NDArray[Any]
"""An image file's bytes, or (H, W, 3) uint8 RGB pixels."""


class Caller:
    """A client whose calls block. The calls of each task are a subclass, which the client inherits from."""

    def _run(self, image: Image, params: Params[R]) -> R:
        """Send one image with the parameters of a call, and return the server's answer."""
        raise NotImplementedError


class AsyncCaller:
    """A client whose calls are coroutines; the rest is as in Caller."""

    async def _run(self, image: Image, params: Params[R]) -> R:
        """Send one image with the parameters of a call, and return the server's answer."""
        raise NotImplementedError
