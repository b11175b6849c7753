"""Detection straight against a Triton server, without the gateway."""

import asyncio
from collections.abc import Collection, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from clients.ensemble import Question, ask, ensemble_name, output_names, read_answer
from clients.errors import BadParameter, DetectorError, ManifestMismatch, NotInstalled, Refused
from clients.image import as_pixels
from clients.manifest import Manifest, newest_manifest
from clients.parameters import Wishes, resolve
from clients.transport import AsyncTransport, Deadline, Tls, Transport
from clients.types import Detections

Protocol = Literal["grpc", "http"]


class TritonDetector:
    """Calls the ensemble `<model>-<target>-detect` of one server. Threads may share one detector.

    What the model is (its canvas, classes, mixture layers, allowed top_k) is read from the ensemble's
    configuration and proved by its sha256. It is read again before a call once it is older than `refresh_s`,
    and at once when the server refuses a request or its answer does not fit: if the model is another by then,
    the image is asked about once more. Nothing else is ever sent twice.

    Args:
        url: host:port.
        model: name of the model.
        target: of the export: openvino, onnx or tensorrt.
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

    def detect(
        self,
        image: bytes | NDArray[Any],
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        top_k: int | None = None,
        weight_threshold: float | None = None,
        classes: Collection[str | int] | str | None = None,
    ) -> Detections:
        """Find objects, and say which experts looked for them. What is left out is the model's default.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            conf: lowest score to report, 0..1.
            iou: overlap above which boxes of one class are one, 0..1.
            max_det: most detections, 1..10,000.
            top_k: experts per image and layer; one that the model allows.
            weight_threshold: probability that an expert beyond the best needs in order to run, 0..1.
            classes: names or ids of the classes to report.

        Raises:
            DetectorError: one of clients.errors, with a sentence that says what to do.
        """
        wishes = Wishes(
            conf=conf,
            iou=iou,
            max_det=max_det,
            top_k=top_k,
            weight_threshold=weight_threshold,
            classes=classes,
        )
        deadline = self._start()
        pixels = as_pixels(image)
        manifest = self._known.fresh() or self._read(deadline)
        try:
            return self._ask(pixels, wishes, manifest, deadline)
        except (Refused, ManifestMismatch):
            newer = self._read(deadline)
            if newer.sha256 == manifest.sha256:
                raise
        return self._ask(pixels, wishes, newer, deadline)

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

    def _start(self) -> Deadline:
        if self._closed:
            raise DetectorError("this detector is closed; make another one")
        return Deadline(self._timeout_s)

    def _ask(
        self, pixels: NDArray[np.uint8], wishes: Wishes, manifest: Manifest, deadline: Deadline
    ) -> Detections:
        question = _question(pixels, wishes, manifest)
        outputs = self._transport.infer(
            self._known.ensemble, question.tensors, output_names(manifest), deadline
        )
        return read_answer(question, outputs)

    def _read(self, deadline: Deadline) -> Manifest:
        return self._known.learn(self._transport.parameters(self._known.ensemble, deadline))


class AsyncTritonDetector:
    """The same for asyncio, over gRPC. Make it inside the event loop that will use it.

    Decoding and letterboxing run in a thread, so that a large image does not hold up the loop. A cancelled
    call is cancelled on the server, too.

    Args:
        url: host:port.
        model: name of the model.
        target: of the export: openvino, onnx or tensorrt.
        timeout_s: limit for a whole call; the server is told it, too.
        refresh_s: as for TritonDetector.
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

    async def detect(
        self,
        image: bytes | NDArray[Any],
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        top_k: int | None = None,
        weight_threshold: float | None = None,
        classes: Collection[str | int] | str | None = None,
    ) -> Detections:
        """Find objects, and say which experts looked for them; see TritonDetector.detect."""
        wishes = Wishes(
            conf=conf,
            iou=iou,
            max_det=max_det,
            top_k=top_k,
            weight_threshold=weight_threshold,
            classes=classes,
        )
        deadline = self._start()
        pixels = await asyncio.to_thread(as_pixels, image)
        manifest = self._known.fresh() or await self._read(deadline)
        try:
            return await self._ask(pixels, wishes, manifest, deadline)
        except (Refused, ManifestMismatch):
            newer = await self._read(deadline)
            if newer.sha256 == manifest.sha256:
                raise
        return await self._ask(pixels, wishes, newer, deadline)

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

    def _start(self) -> Deadline:
        if self._closed:
            raise DetectorError("this detector is closed; make another one")
        return Deadline(self._timeout_s)

    async def _ask(
        self, pixels: NDArray[np.uint8], wishes: Wishes, manifest: Manifest, deadline: Deadline
    ) -> Detections:
        question = await asyncio.to_thread(_question, pixels, wishes, manifest)
        outputs = await self._transport.infer(
            self._known.ensemble, question.tensors, output_names(manifest), deadline
        )
        return read_answer(question, outputs)

    async def _read(self, deadline: Deadline) -> Manifest:
        parameters = await self._transport.parameters(self._known.ensemble, deadline)
        return self._known.learn(parameters)


class _Known:
    """The manifest of one model as it was last read, and when."""

    def __init__(self, model: str, target: str, refresh_s: float) -> None:
        if not refresh_s >= 0:
            raise BadParameter(
                "refresh_s", f"refresh_s={refresh_s!r} cannot be used; give seconds, 0 or more"
            )
        self.ensemble = ensemble_name(model, target)
        self._model, self._target, self._refresh_s = model, target, refresh_s
        self._last: tuple[Manifest, float] | None = None  # replaced as one, so threads need no lock

    def fresh(self) -> Manifest | None:
        """Return it, unless it has to be read again."""
        last = self._last
        return None if last is None or monotonic() - last[1] >= self._refresh_s else last[0]

    def learn(self, parameters: Mapping[str, str]) -> Manifest:
        """Take what the server says, if it is about this model."""
        manifest = newest_manifest(parameters, self.ensemble)
        if (manifest.name, manifest.target) != (self._model, self._target):
            raise ManifestMismatch(
                self.ensemble, f"it holds the manifest of {manifest.name} for {manifest.target}"
            )
        self._last = manifest, monotonic()
        return manifest


def _question(pixels: NDArray[np.uint8], wishes: Wishes, manifest: Manifest) -> Question:
    return ask(pixels, resolve(wishes, manifest), manifest)


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
                from clients.triton_grpc import GrpcTransport
            except ImportError as error:
                raise NotInstalled(_missing(error)) from error
            return GrpcTransport(url, tls)
        case "http":
            try:
                from clients.triton_http import HttpTransport
            except ImportError as error:
                raise NotInstalled(_missing(error)) from error
            return HttpTransport(url, tls)
        case _:
            raise BadParameter("protocol", f"protocol={protocol!r} cannot be used; use grpc or http")


def _open_async(url: str, tls: Tls | None) -> AsyncTransport:
    try:
        from clients.triton_grpc import AsyncGrpcTransport
    except ImportError as error:
        raise NotInstalled(_missing(error)) from error
    return AsyncGrpcTransport(url, tls)


def _missing(error: ImportError) -> str:
    return f"the package {error.name} is missing; install what the client needs: pip install -e '.[client]'"
