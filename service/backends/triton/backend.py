"""Run one version of one model on a Triton server over gRPC."""

from collections.abc import Mapping
from contextlib import ExitStack
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

from service.artifact.manifest import Manifest
from service.backends.contract import check_batch, check_outputs
from service.backends.protocol import Job
from service.backends.threads import Threads
from service.backends.triton.channel import TritonChannel
from service.backends.triton.memory import ImageSlots, SharedImages
from service.backends.triton.status import RegionForgotten
from service.errors import BackendFailed, BackendUnavailable
from service.request import RequestContext
from service.timeline import begin
from service.types import RawOutputs

T = TypeVar("T")


class TritonBackend:
    """One version of one model on Triton. The caller owns the channel, the memory and the threads."""

    def __init__(
        self, channel: TritonChannel, memory: SharedImages | None, threads: Threads, manifest: Manifest
    ) -> None:
        """Prepare to run a version on a server.

        Args:
            channel: gRPC channel to the server.
            memory: shared memory for the images; None to send images in the gRPC message.
            threads: threads in which jobs are prepared and finished.
            manifest: manifest of the version.

        Raises:
            ArtifactBroken: the model has more than one graph.
        """
        manifest.only_graph()
        self._channel = channel
        self._memory = memory
        self._threads = threads
        self._manifest = manifest
        self._model = f"{manifest.name}-{manifest.target}"
        self._outputs = [InferRequestedOutput(row.name) for row in manifest.outputs]

    async def run(self, job: Job[T], context: RequestContext) -> T:
        """Run a job, with its graph on the server, and return the job's result; outputs are read-only.

        Raises:
            BackendBusy, BackendUnavailable, DeadlineExceeded, BackendFailed: see `status.TABLE`.
        """
        inputs = await self._threads.run(context, job.prepare)
        began = perf_counter()
        with begin(context.step, "infer") as step:
            outputs = await self._infer(inputs, context.inside(step))
        infer_s = perf_counter() - began
        return await self._threads.run(context, lambda: job.finish(outputs, infer_s))

    async def close(self) -> None:
        """Do nothing, because the caller owns the channel, the memory and the threads, and closes them."""

    async def _infer(self, inputs: Mapping[str, NDArray[Any]], context: RequestContext) -> RawOutputs:
        batch = check_batch(self._manifest, inputs)
        images = inputs[self._manifest.images.name]
        region = None if self._memory is None else self._memory.region(images.nbytes)
        if self._memory is None or region is None:
            return await self._run(_message(inputs), batch, context)
        return await self._run_shared(inputs, self._memory, region, context)

    async def _run_shared(
        self,
        inputs: Mapping[str, NDArray[Any]],
        memory: SharedImages,
        region: ImageSlots,
        context: RequestContext,
    ) -> RawOutputs:
        name = self._manifest.images.name
        images, batch = inputs[name], len(inputs[name])
        with ExitStack() as stack:
            offset = stack.enter_context(region.hold(images))
            if offset is None:
                return await self._run(_message(inputs), batch, context)
            shared = InferInput(name, images.shape, np_to_triton_dtype(images.dtype))
            shared.set_shared_memory(region.name, images.nbytes, offset)
            others = {other: array for other, array in inputs.items() if other != name}
            sent = [shared, *_message(others)]
            try:
                return await self._run(sent, batch, context)
            except RegionForgotten:
                usable = await memory.register(region)
            if not usable:
                return await self._run(_message(inputs), batch, context)
            try:
                return await self._run(sent, batch, context)
            except RegionForgotten as error:
                raise BackendUnavailable(str(error)) from error

    async def _run(self, inputs: list[InferInput], batch: int, context: RequestContext) -> RawOutputs:
        version = self._manifest.version
        result = await self._channel.infer(self._model, version, inputs, self._outputs, context)
        outputs = {row.name: _output(result, row.name) for row in self._manifest.outputs}
        check_outputs(outputs, self._manifest, batch, "triton")
        return outputs


def _message(inputs: Mapping[str, NDArray[Any]]) -> list[InferInput]:
    message = []
    for name, array in inputs.items():
        tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        message.append(tensor)
    return message


def _output(result: InferResult, name: str) -> NDArray[Any]:
    array = result.as_numpy(name)
    if array is None:
        raise BackendFailed(f"triton gave no {name}")
    return np.asarray(array)
