"""Triton over gRPC: runs one version of one model on a server beside this process."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult

from service.artifact.manifest import Manifest
from service.backends.protocol import Call
from service.backends.triton.channel import TritonChannel
from service.backends.triton.memory import ImageSlots, SharedImages
from service.backends.triton.status import RegionForgotten
from service.errors import BackendFailed, BackendUnavailable

_DTYPES = {"class_ids": np.dtype(np.int32)}  # every other output is float32


class TritonBackend:
    """One version of one model. Owns nothing: the channel and the shared memory belong to the process."""

    def __init__(self, channel: TritonChannel, memory: SharedImages | None, manifest: Manifest) -> None:
        """Use a server.

        Args:
            channel: to the server.
            memory: to pass images in; None to send them in the message.
            manifest: of the version.
        """
        self._channel = channel
        self._memory = memory
        self._manifest = manifest
        self._model = f"{manifest.name}-{manifest.target}"
        self._outputs = [InferRequestedOutput(name) for name in manifest.output_names]

    async def infer(
        self, images: NDArray[np.uint8], top_k: int | None, weight_threshold: float | None, call: Call
    ) -> Mapping[str, NDArray[Any]]:
        """Run (B, H, W, 3) RGB on the server; return the manifest's outputs by name, read only.

        Raises:
            BackendBusy, BackendUnavailable, DeadlineExceeded, BackendFailed: see `triton_status.TABLE`.
        """
        batch = images.shape[0]
        if batch not in self._manifest.input.batch:
            allowed = ", ".join(map(str, self._manifest.input.batch))
            raise BackendFailed(f"this graph takes batches of {allowed}, not {batch}")
        controls = []
        if top_k is not None:
            controls.append(_input("top_k", "INT64", np.full((batch, 1), top_k, dtype=np.int64)))
        if weight_threshold is not None:
            threshold = np.full((batch, 1), weight_threshold, dtype=np.float32)
            controls.append(_input("weight_threshold", "FP32", threshold))
        region = None if self._memory is None else self._memory.region(images.nbytes)
        if self._memory is None or region is None:
            return await self._run([_input("images", "UINT8", images), *controls], batch, call)
        return await self._run_shared(images, controls, self._memory, region, call)

    async def close(self) -> None:
        """Do nothing: what is closed belongs to the process."""

    async def _run_shared(
        self,
        images: NDArray[np.uint8],
        controls: list[InferInput],
        memory: SharedImages,
        region: ImageSlots,
        call: Call,
    ) -> Mapping[str, NDArray[Any]]:
        batch = images.shape[0]
        with ExitStack() as stack:
            offset = stack.enter_context(region.hold(images))
            if offset is None:
                return await self._run([_input("images", "UINT8", images), *controls], batch, call)
            shared = InferInput("images", images.shape, "UINT8")
            shared.set_shared_memory(region.name, images.nbytes, offset)
            try:
                return await self._run([shared, *controls], batch, call)
            except RegionForgotten:
                usable = await memory.register(region)
            if not usable:
                return await self._run([_input("images", "UINT8", images), *controls], batch, call)
            try:
                return await self._run([shared, *controls], batch, call)
            except RegionForgotten as error:
                raise BackendUnavailable(str(error)) from error

    async def _run(self, inputs: list[InferInput], batch: int, call: Call) -> Mapping[str, NDArray[Any]]:
        result = await self._channel.infer(self._model, self._manifest.version, inputs, self._outputs, call)
        outputs = {name: _output(result, name) for name in self._manifest.output_names}
        check_outputs(outputs, self._manifest, batch)
        return outputs


def check_outputs(outputs: Mapping[str, NDArray[Any]], manifest: Manifest, batch: int) -> None:
    """Check shapes and types against the manifest: a server can be given another graph under its name.

    Raises:
        BackendFailed: names the first output that does not fit.
    """
    rows = outputs["boxes"].shape[1] if outputs["boxes"].ndim == 3 else -1
    wanted: dict[str, tuple[int, ...]] = {"boxes": (batch, rows, 4)}
    if manifest.outputs.selection == "graph":
        wanted |= {"scores": (batch, rows), "class_ids": (batch, rows)}
    else:
        wanted["class_scores"] = (batch, rows, len(manifest.class_names))
    if manifest.mixture:
        experts = max(layer.num_experts for layer in manifest.mixture)
        wanted |= dict.fromkeys(("gates", "router_probs"), (batch, len(manifest.mixture), experts))
    for name, shape in wanted.items():
        array, dtype = outputs[name], _DTYPES.get(name, np.dtype(np.float32))
        if array.shape != shape or array.dtype != dtype:
            raise BackendFailed(
                f"triton answered {name} as {array.dtype} {array.shape}; the manifest says {dtype} {shape}"
            )


def _input(name: str, datatype: str, array: NDArray[Any]) -> InferInput:
    tensor = InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def _output(result: InferResult, name: str) -> NDArray[Any]:
    array = result.as_numpy(name)
    if array is None:
        raise BackendFailed(f"triton gave no {name}")
    return np.asarray(array)
