"""Answers straight from a Triton server, without the service in between."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import BadParameter, ClientError, ManifestMismatch, NotInstalled, Refused
from .image import as_pixels
from .manifest import Manifest, newest_manifest
from .tasks import AsyncCalls, Calls, params_of, wrong_task
from .tensors import Params, Question, graph_name
from .tls import Tls
from .transport import AsyncTransport, Deadline, Transport
from .triton_http import HttpTransport
from .types import Answer

Protocol = Literal["grpc", "http"]

R = TypeVar("R")


class TritonClient(Calls):
    """Asks the models of one server. Threads may share one client.

    What the model is (its canvas, classes, mixture layers, controls) is read from the configuration of
    `<model>-<target>` and proved by its sha256. It is read again before a call once it is older than
    `refresh_s`, and at once when the server refuses a request or its answer does not fit: if the model is
    another by then, the image is asked about once more. Nothing else is ever sent twice.

    Args:
        url: host:port.
        model: name of the model.
        target: of the export: openvino, onnx, npu or tensorrt.
        protocol: grpc or http.
        timeout_s: limit for a whole call; the server is told it, too.
        refresh_s: how long, after a new version was loaded, an answer may still carry the class names and the
            sha256 of the previous one; 0 asks before every call.
        tls: to encrypt, and for whom to trust; None for plain connections.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "starter",
        target: str = "openvino",
        protocol: Protocol = "grpc",
        timeout_s: float = 10.0,
        refresh_s: float = 1.0,
        tls: Tls | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._closed = False
        self._known = _Known(model, target, refresh_s)
        self._transport = _open(_address(url), protocol, tls)

    def predict(self, image: bytes | NDArray[Any], **parameters: Any) -> Answer:
        """Do what the model is for, with the parameters of that call.

        Raises:
            ClientError: one of the errors of this package, with a sentence that says what to do.
        """
        manifest = self._known.fresh() or self._read(self._start())
        return self._run(image, params_of(manifest, parameters))

    def manifest(self) -> Manifest:
        """Return what the server says now about the model."""
        return self._read(self._start())

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, image: bytes | NDArray[Any], params: Params[R]) -> R:
        deadline = self._start()
        pixels = as_pixels(image)
        manifest = self._known.fresh() or self._read(deadline)
        try:
            return self._ask(pixels, params, manifest, deadline)
        except (Refused, ManifestMismatch):
            newer = self._read(deadline)
            if newer.sha256 == manifest.sha256:
                raise
        return self._ask(pixels, params, newer, deadline)

    def _start(self) -> Deadline:
        return _start(self._timeout_s, closed=self._closed)

    def _ask(self, pixels: NDArray[np.uint8], params: Params[R], manifest: Manifest, deadline: Deadline) -> R:
        question = _question(pixels, params, manifest)
        outputs = self._transport.infer(question.model, question.tensors, question.outputs, deadline)
        return question.read(outputs)

    def _read(self, deadline: Deadline) -> Manifest:
        return self._known.learn(self._transport.parameters(self._known.graph, deadline))


class AsyncTritonClient(AsyncCalls):
    """The same for asyncio, over gRPC. Make it inside the event loop that will use it.

    Decoding and resizing run in a thread, so that a large image does not hold up the loop. A cancelled
    call is cancelled on the server, too.

    Args:
        url: host:port.
        model: name of the model.
        target: of the export: openvino, onnx, npu or tensorrt.
        timeout_s: limit for a whole call; the server is told it, too.
        refresh_s: as for TritonClient.
        tls: to encrypt, and for whom to trust; None for plain connections.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "starter",
        target: str = "openvino",
        timeout_s: float = 10.0,
        refresh_s: float = 1.0,
        tls: Tls | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._closed = False
        self._known = _Known(model, target, refresh_s)
        self._transport = _open_async(_address(url), tls)

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, image: bytes | NDArray[Any], params: Params[R]) -> R:
        deadline = _start(self._timeout_s, closed=self._closed)
        pixels = await asyncio.to_thread(as_pixels, image)
        manifest = self._known.fresh() or await self._read(deadline)
        try:
            return await self._ask(pixels, params, manifest, deadline)
        except (Refused, ManifestMismatch):
            newer = await self._read(deadline)
            if newer.sha256 == manifest.sha256:
                raise
        return await self._ask(pixels, params, newer, deadline)

    async def _ask(
        self, pixels: NDArray[np.uint8], params: Params[R], manifest: Manifest, deadline: Deadline
    ) -> R:
        question = await asyncio.to_thread(_question, pixels, params, manifest)
        outputs = await self._transport.infer(question.model, question.tensors, question.outputs, deadline)
        return question.read(outputs)

    async def _read(self, deadline: Deadline) -> Manifest:
        return self._known.learn(await self._transport.parameters(self._known.graph, deadline))


class _Known:
    """The manifest of one model as it was last read, and when."""

    def __init__(self, model: str, target: str, refresh_s: float) -> None:
        if not refresh_s >= 0:
            raise BadParameter(
                "refresh_s", f"refresh_s={refresh_s!r} cannot be used; give seconds, 0 or more"
            )
        self.graph = graph_name(model, target)
        self._model, self._target, self._refresh_s = model, target, refresh_s
        self._last: tuple[Manifest, float] | None = None  # replaced as one, so threads need no lock

    def fresh(self) -> Manifest | None:
        """Return it, unless it has to be read again."""
        last = self._last
        return None if last is None or monotonic() - last[1] >= self._refresh_s else last[0]

    def learn(self, parameters: Mapping[str, str]) -> Manifest:
        """Take what the server says, if it is about this model."""
        manifest = newest_manifest(parameters, self.graph)
        if (manifest.name, manifest.target) != (self._model, self._target):
            raise ManifestMismatch(
                self.graph, f"it holds the manifest of {manifest.name} for {manifest.target}"
            )
        self._last = manifest, monotonic()
        return manifest


def _start(timeout_s: float, *, closed: bool) -> Deadline:
    if closed:
        raise ClientError("this client is closed; make another one")
    return Deadline(timeout_s)


def _question(pixels: NDArray[np.uint8], params: Params[R], manifest: Manifest) -> Question[R]:
    if manifest.task != params.task:
        raise wrong_task(manifest)
    return params.ask(pixels, manifest)


def _address(url: str) -> str:
    if "://" in url or not url.partition("/")[0].rpartition(":")[2].isdigit():
        raise BadParameter(
            "url", f"url={url!r} cannot be used; write host:port, protocol and tls say the rest"
        )
    return url


def _open(url: str, protocol: Protocol, tls: Tls | None) -> Transport:
    match protocol:
        case "grpc":
            try:
                from .triton_grpc import GrpcTransport
            except ImportError as error:
                raise NotInstalled(_missing(error)) from error
            return GrpcTransport(url, tls)
        case "http":
            return HttpTransport(url, tls)
        case _:
            raise BadParameter("protocol", f"protocol={protocol!r} cannot be used; use grpc or http")


def _open_async(url: str, tls: Tls | None) -> AsyncTransport:
    try:
        from .triton_grpc import AsyncGrpcTransport
    except ImportError as error:
        raise NotInstalled(_missing(error)) from error
    return AsyncGrpcTransport(url, tls)


def _missing(error: ImportError) -> str:
    return (
        f"the package {error.name} is missing, which gRPC needs; use protocol='http',"
        " or install the client with its extra: pip install '.[client]'"
    )
