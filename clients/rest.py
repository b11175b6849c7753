"""Call the service over HTTP."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import BadImage, BadParameter, ClientError, Unreachable, UnreadableAnswer
from .exchange import Received, opened, send, send_async
from .facts import Facts
from .image import as_pixels
from .parameters import Classes, given
from .rest_problems import document, to_error
from .tasks.classify import Classification, ClassifyParams
from .tasks.detect import Detections, DetectParams
from .tensors import Params
from .tls import Tls
from .transport import Deadline

_LONGEST_MS = 600_000  # largest timeout_ms that the service accepts

R = TypeVar("R")


class RestClient:
    """Sends images to the models of one service. Threads may share one client. No request is retried.

    Args:
        url: URL of the service, with http:// or https://, and with the path if the service has one.
        model: name of the model; None for the service's default model.
        backend: backend that runs the model, for example triton; None: the service chooses one.
        version: version of the model; None for the highest version that is ready.
        timeout_s: time limit for a whole call, in seconds; the client also sends the limit to the service.
        tls: certificates for https; None to trust the certificates that the system trusts.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        backend: str | None = None,
        version: str | None = None,
        timeout_s: float = 10.0,
        tls: Tls | None = None,
    ) -> None:
        self._call = _Call(url, timeout_s, {"model": model, "backend": backend, "version": version})
        self._client = opened(httpx.Client, self._call.url, tls)

    def detect(
        self,
        image: bytes | NDArray[Any],
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Detections:
        """Return the objects in an image, and the experts that ran. None stands for the model's default.

        Args:
            image: the bytes of an image file, or (H, W, 3) uint8 RGB pixels, which are sent as PNG.
            conf: lowest score to report, 0..1.
            iou: IoU above which non-maximum suppression drops the lower-scored box of a class, 0..1.
            max_det: maximum number of detections, 1..10,000.
            classes: names or ids of the classes to report; None for all classes.
            controls: numbers for the model's controls, such as top_k and weight_threshold.

        Raises:
            ClientError: the call failed; the subclass tells why, and the message says what to do.
        """
        params = DetectParams(conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls))
        return self._run(image, params)

    def classify(
        self,
        image: bytes | NDArray[Any],
        *,
        top: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Classification:
        """Return an image's most probable classes, and the experts that ran. None is the model's default.

        Args:
            image: the bytes of an image file, or (H, W, 3) uint8 RGB pixels, which are sent as PNG.
            top: maximum number of classes to report; the most probable classes come first.
            classes: names or ids of the classes to choose from; None for all classes.
            controls: numbers for the model's controls; see `detect`.

        Raises:
            ClientError: the call failed; the subclass tells why, and the message says what to do.
        """
        return self._run(image, ClassifyParams(top=top, classes=classes, controls=given(controls)))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, image: bytes | NDArray[Any], params: Params[R]) -> R:
        deadline = self._call.start(closed=self._client.is_closed)
        body = _body(image)
        request = self._client.build_request("POST", "detect", **self._call.request(params, body, deadline))
        return self._call.read(params, send(self._client, request, deadline, self._call.unreached), deadline)


class AsyncRestClient:
    """Sends images to the models of one service, as RestClient does, but with asyncio.

    Args:
        url: URL of the service, with http:// or https://, and with the path if the service has one.
        model: name of the model; None for the service's default model.
        backend: backend that runs the model, for example triton; None: the service chooses one.
        version: version of the model; None for the highest version that is ready.
        timeout_s: time limit for a whole call, in seconds; the client also sends the limit to the service.
        tls: certificates for https; None to trust the certificates that the system trusts.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        backend: str | None = None,
        version: str | None = None,
        timeout_s: float = 10.0,
        tls: Tls | None = None,
    ) -> None:
        self._call = _Call(url, timeout_s, {"model": model, "backend": backend, "version": version})
        self._client = opened(httpx.AsyncClient, self._call.url, tls)

    async def detect(
        self,
        image: bytes | NDArray[Any],
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Detections:
        """Return the objects in an image, and the experts that ran; see RestClient.detect."""
        params = DetectParams(conf=conf, iou=iou, max_det=max_det, classes=classes, controls=given(controls))
        return await self._run(image, params)

    async def classify(
        self,
        image: bytes | NDArray[Any],
        *,
        top: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Classification:
        """Return an image's most probable classes, and the experts that ran; see RestClient.classify."""
        return await self._run(image, ClassifyParams(top=top, classes=classes, controls=given(controls)))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, image: bytes | NDArray[Any], params: Params[R]) -> R:
        deadline = self._call.start(closed=self._client.is_closed)
        body = await asyncio.to_thread(_body, image)
        request = self._client.build_request("POST", "detect", **self._call.request(params, body, deadline))
        answer = await send_async(self._client, request, deadline, self._call.unreached)
        return self._call.read(params, answer, deadline)


class _Call:
    """The part of a call that RestClient and AsyncRestClient share: building requests, reading answers."""

    def __init__(self, url: str, timeout_s: float, query: Mapping[str, str | None]) -> None:
        self.url = _checked(url)
        self._timeout_s = timeout_s
        self._query = {name: value for name, value in query.items() if value is not None}

    def start(self, *, closed: bool) -> Deadline:
        """Return the deadline of a call that begins now; raise ClientError if the client is closed."""
        if closed:
            raise ClientError("this client is closed; make another one")
        return Deadline(self._timeout_s)

    def request(self, params: Params[Any], body: bytes, deadline: Deadline) -> dict[str, Any]:
        """Return body, query and headers. The service counts timeout_ms from when the body has arrived."""
        left_ms = min(_LONGEST_MS, max(1, round(deadline.left_s() * 1e3)))
        return {
            "params": {**self._query, **params.query(), "moe": "full", "timeout_ms": left_ms},
            "content": body,
            "headers": {"Content-Type": "application/octet-stream"},
        }

    def read(self, params: Params[R], answer: Received, deadline: Deadline) -> R:
        """Return the result, or raise the ClientError for the problem that the service answered."""
        if answer.status != httpx.codes.OK:
            raise to_error(answer, self.url, deadline.timeout_s)
        facts = document(answer, self.url)
        try:
            return params.read(Facts(facts))
        except ValueError as error:
            raise UnreadableAnswer(self.url, str(error)) from error

    def unreached(self, reason: str) -> Unreachable:
        """Return the error for a service that cannot be reached."""
        return Unreachable(
            f"cannot reach the service at {self.url}: {reason};"
            " check that it runs, and the URL's port and scheme"
        )


def _checked(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL("")
    if (
        parts.scheme not in ("http", "https")
        or not parts.host
        or parts.port == 0
        or parts.query
        or parts.fragment
    ):
        sentence = f"url={url!r} cannot be used; write http://host:port or https://host"
        raise BadParameter("url", sentence)
    return url.rstrip("/")


def _body(image: bytes | NDArray[Any]) -> bytes:
    """Return a file's bytes unchanged, for the service to decode, or pixels encoded as PNG."""
    if isinstance(image, bytes | bytearray | memoryview):
        if not image:
            raise BadImage("there are no image bytes; give the whole file")
        return bytes(image)
    pixels = as_pixels(image)
    encoded, buffer = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise BadImage(f"pixels of shape {pixels.shape} cannot be written as PNG; give a file's bytes")
    return np.asarray(buffer).tobytes()
