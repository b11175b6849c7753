"""Call an NVIDIA Triton server directly, without the service."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from numpy.typing import NDArray

from .errors import BadParameter, ClientError, ManifestMismatch, NotInstalled, Refused
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
    """A client for one model of a Triton server. Threads may share it.

    The client reads the model's manifest (input size, classes, mixture layers, controls) from the
    configuration of `<model>-<target>`, and verifies the manifest with its sha256. It reads the manifest
    again before a call if the manifest is older than `refresh_s`. It also reads the manifest again if the
    server refuses a request, or if an answer does not match the manifest. If the new manifest then differs
    from the previous one, the client sends the image once more. It never retries in other cases.

    Args:
        url: host:port of the server.
        model: name of the model.
        target: export target of the model: openvino, onnx, npu or tensorrt.
        protocol: grpc or http.
        timeout_s: time limit for a whole call, in seconds; the client also sends the limit to the server.
        refresh_s: age in seconds at which the manifest is read again; 0 reads it before every call. If the
            server loads a new version, answers can have the old class names and the old sha256 for
            `refresh_s` seconds at most.
        tls: certificates for an encrypted connection; None for a plain connection.
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
        """Call the method for the model's task: detect, classify, segment, pose or detect_oriented.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            parameters: the parameters of the method that is called.

        Raises:
            ClientError: the call failed; the message says what to do.
        """
        deadline = self._start()  # one for the whole call
        manifest = self._known.fresh() or self._read(deadline)
        return self._run(image, params_of(manifest, parameters), deadline)

    def manifest(self) -> Manifest:
        """Return the model's manifest, newly read from the server."""
        return self._read(self._start())

    def close(self) -> None:
        """Close the connections; a later call raises ClientError."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, image: bytes | NDArray[Any], params: Params[R], deadline: Deadline | None = None) -> R:
        deadline = deadline or self._start()
        manifest = self._known.fresh() or self._read(deadline)
        try:
            return self._ask(image, params, manifest, deadline)
        except (Refused, ManifestMismatch):
            newer = self._read(deadline)
            if newer.sha256 == manifest.sha256:
                raise
        return self._ask(image, params, newer, deadline)

    def _start(self) -> Deadline:
        return _start(self._timeout_s, closed=self._closed)

    def _ask(
        self, image: bytes | NDArray[Any], params: Params[R], manifest: Manifest, deadline: Deadline
    ) -> R:
        question = _question(image, params, manifest)
        outputs = self._transport.infer(
            question.model, question.tensors, question.outputs, deadline, question.parameters
        )
        return question.read(outputs)

    def _read(self, deadline: Deadline) -> Manifest:
        return self._known.learn(self._transport.parameters(self._known.graph, deadline))


class AsyncTritonClient(AsyncCalls):
    """A client for one model of a Triton server, like TritonClient, but with asyncio and over gRPC.

    Create the client inside the event loop that uses it. Decoding and resizing run in a thread, so that a
    large image does not block the loop. If a call is cancelled, the client also cancels it on the server.

    Args:
        url: host:port of the server.
        model: name of the model.
        target: export target of the model: openvino, onnx, npu or tensorrt.
        timeout_s: time limit for a whole call, in seconds; the client also sends the limit to the server.
        refresh_s: age in seconds at which the manifest is read again; see TritonClient.
        tls: certificates for an encrypted connection; None for a plain connection.
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
        """Close the connection; a later call raises ClientError."""
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
        manifest = self._known.fresh() or await self._read(deadline)
        try:
            return await self._ask(image, params, manifest, deadline)
        except (Refused, ManifestMismatch):
            newer = await self._read(deadline)
            if newer.sha256 == manifest.sha256:
                raise
        return await self._ask(image, params, newer, deadline)

    async def _ask(
        self, image: bytes | NDArray[Any], params: Params[R], manifest: Manifest, deadline: Deadline
    ) -> R:
        question = await asyncio.to_thread(_question, image, params, manifest)
        outputs = await self._transport.infer(
            question.model, question.tensors, question.outputs, deadline, question.parameters
        )
        return question.read(outputs)

    async def _read(self, deadline: Deadline) -> Manifest:
        return self._known.learn(await self._transport.parameters(self._known.graph, deadline))


class _Known:
    """The last manifest that was read for one model, and the time at which it was read."""

    def __init__(self, model: str, target: str, refresh_s: float) -> None:
        if not refresh_s >= 0:
            raise BadParameter(
                "refresh_s", f"refresh_s={refresh_s!r} cannot be used; give seconds, 0 or more"
            )
        self.graph = graph_name(model, target)
        self._model, self._target, self._refresh_s = model, target, refresh_s
        # One assignment replaces manifest and time together, so threads need no lock.
        self._last: tuple[Manifest, float] | None = None

    def fresh(self) -> Manifest | None:
        """Return the last manifest; None if none was read, or if it is older than `refresh_s`."""
        last = self._last
        return None if last is None or monotonic() - last[1] >= self._refresh_s else last[0]

    def learn(self, parameters: Mapping[str, str]) -> Manifest:
        """Find the newest manifest among a model configuration's parameters; store it, and return it.

        Raises:
            ManifestMismatch: there is no valid manifest, or it belongs to another model or target.
        """
        manifest = newest_manifest(parameters, self.graph)
        if (manifest.name, manifest.target) != (self._model, self._target):
            raise ManifestMismatch(
                self.graph, f"its configuration has the manifest of {manifest.name}-{manifest.target}"
            )
        self._last = manifest, monotonic()
        return manifest


def _start(timeout_s: float, *, closed: bool) -> Deadline:
    if closed:
        raise ClientError("this client is closed; create a new one")
    return Deadline(timeout_s)


def _question(image: bytes | NDArray[Any], params: Params[R], manifest: Manifest) -> Question[R]:
    if manifest.task != params.task:
        raise wrong_task(manifest)
    return params.ask(image, manifest)


def _address(url: str) -> str:
    if "://" in url or not url.partition("/")[0].rpartition(":")[2].isdigit():
        raise BadParameter(
            "url", f"url={url!r} cannot be used; write host:port, and set the scheme with protocol and tls"
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
        f"gRPC needs the package {error.name}, which is missing; use protocol='http',"
        " or install the client with its extra: pip install '.[client]'"
    )
