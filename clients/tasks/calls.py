"""Define the base classes of DetectCalls and similar classes, which add the method of a task to a client."""

from typing import Any, TypeVar

from numpy.typing import NDArray

from ..facts import Facts
from ..tensors import Params

R = TypeVar("R")

Image = bytes | NDArray[Any]
"""An image file's bytes, or (H, W, 3) uint8 RGB pixels."""


class Caller:
    """The base class of DetectCalls and similar classes, whose methods call `_run`.

    A synchronous client inherits from these classes, and implements `_run`.
    """

    def _run(self, image: Image, params: Params[R]) -> R:
        """Send one image with the parameters of a call, and return the server's answer."""
        raise NotImplementedError


class AsyncCaller:
    """The base class of AsyncDetectCalls and similar classes, whose methods call `_run`.

    An asyncio client inherits from these classes, and implements `_run`.
    """

    async def _run(self, image: Image, params: Params[R]) -> R:
        """Send one image with the parameters of a call, and return the server's answer."""
        raise NotImplementedError


def task_of(prediction: Facts) -> str:
    """Return the task of a prediction from the service; the prediction's members show the task."""
    if not prediction.has("x"):
        return "classify"
    keys = {"mask": "segment", "keypoints": "pose", "corners": "obb"}
    return next((task for key, task in keys.items() if prediction.has(key)), "detect")
