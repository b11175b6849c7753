"""Send images to the models of a Triton server: in shared memory if possible, otherwise in the message."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

from service.artifact.manifest import Manifest
from service.backends.contract import Tensors, check_outputs
from service.backends.triton.channel import TritonChannel
from service.backends.triton.memory import ImageSlots, SharedImages
from service.backends.triton.status import RegionForgotten
from service.errors import BackendFailed, BackendUnavailable
from service.request import RequestContext
from service.types import RawOutputs


@dataclass(frozen=True)
class Placed:
    """Images that are ready to be sent to one model or to several, one after the other."""

    images: NDArray[np.uint8]  # (B, H, W, 3)
    region: ImageSlots | None = None  # None: they travel in the message
    offset: int = 0  # of the slot, in bytes


class Sender:
    """Sends images to the models of one version on a server. The caller owns the channel and the memory."""

    def __init__(self, channel: TritonChannel, memory: SharedImages | None, manifest: Manifest) -> None:
        """Prepare to send; without `memory`, images travel in the message."""
        self.channel = channel
        self._memory = memory
        self._images = manifest.images.name
        self._version = manifest.version

    @contextmanager
    def place(self, images: NDArray[np.uint8]) -> Iterator[Placed]:
        """Copy images to shared memory, if it works and has a free slot, and keep them there in the block."""
        region = None if self._memory is None else self._memory.region(images.nbytes)
        if region is None:
            yield Placed(images)
            return
        with region.hold(images) as offset:
            yield Placed(images) if offset is None else Placed(images, region, offset)

    async def run(
        self,
        model: str,
        placed: Placed,
        controls: Mapping[str, NDArray[Any]],
        tensors: Tensors,
        context: RequestContext,
    ) -> RawOutputs:
        """Run a model on images and controls; return the outputs that `tensors` lists, read-only.

        Raises:
            BackendBusy, BackendUnavailable, DeadlineExceeded: see `status.TABLE`.
            BackendFailed: see `status.TABLE`; or an output has another shape or dtype than in `tensors`.
        """
        controlling = _message(controls)
        result = await self._send(model, placed, controlling, _wanted(tensors), context)
        outputs = {row.name: _output(result, row.name) for row in tensors.outputs}
        check_outputs(outputs, tensors, len(placed.images), "triton")
        return outputs

    async def _send(
        self,
        model: str,
        placed: Placed,
        controls: list[InferInput],
        wanted: list[InferRequestedOutput],
        context: RequestContext,
    ) -> InferResult:
        images, region, memory = placed.images, placed.region, self._memory
        if region is None or memory is None:
            message = [*_message({self._images: images}), *controls]
            return await self.channel.infer(model, self._version, message, wanted, context)
        shared = InferInput(self._images, images.shape, np_to_triton_dtype(images.dtype))
        shared.set_shared_memory(region.name, images.nbytes, placed.offset)
        sent = [shared, *controls]
        try:
            return await self.channel.infer(model, self._version, sent, wanted, context)
        except RegionForgotten:
            usable = await memory.register(region)
        if not usable:
            return await self._send(model, Placed(images), controls, wanted, context)
        try:
            return await self.channel.infer(model, self._version, sent, wanted, context)
        except RegionForgotten as error:
            raise BackendUnavailable(str(error)) from error


def _message(inputs: Mapping[str, NDArray[Any]]) -> list[InferInput]:
    message = []
    for name, array in inputs.items():
        tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        message.append(tensor)
    return message


def _wanted(tensors: Tensors) -> list[InferRequestedOutput]:
    return [InferRequestedOutput(row.name) for row in tensors.outputs]


def _output(result: InferResult, name: str) -> NDArray[Any]:
    array = result.as_numpy(name)
    if array is None:
        raise BackendFailed(f"triton gave no {name}")
    return np.asarray(array)
