"""Build the requests of a soak: images, forms, models and mistakes, each with its share of the load."""

import base64
import gzip
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tests.builders import image_bytes
from tests.image_files import tiff_bytes

KEY, SLOW_KEY = "key-of-the-soak", "key-with-a-rate"  # known to all who read this
NUMBER = b"@NUMBER@"  # in a head; each request puts its own number there
BUSY = frozenset((429, 503))  # any image may be refused while others wait, or while models are loaded
GOOD = frozenset((200,)) | BUSY
LATE = frozenset((504,)) | BUSY


class Manner(Enum):
    """How a caller sends a request and takes the answer."""

    WHOLE = "at once"
    SLOW = "in pieces"
    STUCK = "half of it, then waits"
    HANG_UP = "half of it, then hangs up"
    LEAVE = "all of it, and does not wait for the answer"
    UNREAD = "many times, and reads nothing"


@dataclass(frozen=True)
class Ask:
    """A request: its bytes, what it may be answered with, and how often it is sent."""

    name: str
    head: bytes
    body: bytes
    expected: frozenset[int]
    share: float
    manner: Manner = Manner.WHOLE

    @property
    def has_answer_body(self) -> bool:
        """Return whether the answer to this method has a body."""
        return not self.head.startswith(b"HEAD ")


def every_ask(models: Mapping[str, str], heavy: str) -> list[Ask]:
    """Return all requests of a soak.

    Args:
        models: the task of each small model, by name.
        heavy: name of a model that takes long.
    """
    files = small_files()
    asks = [*of_models(models, files), *of_forms(models, files), *of_heavy(heavy), *of_pages(models)]
    return [*asks, *of_mistakes(files), *of_manners(heavy)]


def small_files() -> dict[str, bytes]:
    """Return images of 64 to 640 pixels, by format."""
    tiny, small, vga = scene(64, 64), scene(96, 160), scene(480, 640)
    deep = (np.arange(96 * 96, dtype=np.uint16).reshape(96, 96) * 5).astype(np.uint16)
    return {
        "jpeg": image_bytes(tiny, "JPEG", quality=90),
        "png": image_bytes(tiny),
        "webp": image_bytes(tiny, "WEBP"),
        "tiff": image_bytes(tiny, "TIFF", compression="tiff_lzw"),
        "bmp": image_bytes(tiny, "BMP"),
        "gif": image_bytes(tiny, "GIF", "P"),
        "avif": image_bytes(tiny, "AVIF"),
        "grey jpeg": image_bytes(small, "JPEG", "L"),
        "cmyk jpeg": image_bytes(small, "JPEG", "CMYK"),
        "progressive jpeg": image_bytes(small, "JPEG", progressive=True),
        "turned jpeg": image_bytes(small, "JPEG", exif=_turned()),
        "palette png": image_bytes(small, "PNG", "P"),
        "alpha png": image_bytes(small, "PNG", "RGBA"),
        "16 bit png": image_bytes(deep, "PNG"),
        "16 bit tiff": tiff_bytes((deep, {})),
        "two pages": tiff_bytes((deep, {}), (deep, {})),
        "vga jpeg": image_bytes(vga, "JPEG", quality=88),
        "vga png": image_bytes(vga, "PNG", compress_level=1),
    }


def of_models(models: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[Ask]:
    """Yield every format for every model, and the parameters that a task has."""
    rare = {"avif": 0.3, "vga png": 0.2, "vga jpeg": 0.5}
    for model in models:
        for kind, file in files.items():
            yield post(f"{kind}", f"/detect?model={model}", file, share=4 * rare.get(kind, 1))
    common = ("moe=off", "timeout_ms=5000", "priority=low", "priority=high", "format=jpeg", "several=true")
    boxes = ("conf=0.3", "iou=0.5&max_det=3", "agnostic_nms=true", "classes=red", "format=coco", "conf=0.9")
    of_task = {
        "classify": ("top=2", "classes=red,blue"),
        "segment": ("masks=polygon", "masks=off", *boxes),
        "obb": tuple(query for query in boxes if query != "format=coco"),  # which has no rotated boxes
    }
    for model, task in models.items():
        for query in (*common, *of_task.get(task, boxes)):
            yield post(query, f"/v1/detect?model={model}&{query}", files["jpeg"], share=5)
    for query in ("top_k=1", "weight_threshold=0.4", "moe=full", "quality=high", "version=1"):
        yield post(query, f"/detect?model=tiny&{query}", files["png"], share=5)


def of_forms(models: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[Ask]:
    """Yield images in forms, in base64, in JSON, packed with gzip and in chunks."""
    some = list(files.values())[:4]
    text = base64.b64encode(files["jpeg"])
    as_json = json.dumps({"image": text.decode()}).encode()
    for model in models:
        to, batch = f"/detect?model={model}", f"/detect/batch?model={model}"
        yield form("form of one", to, some[:1], 10)
        yield form("form of four", to, some, 5)
        yield form("batch of four", batch, some, 5)
        yield post("batch of one", batch, files["png"], share=5)
        yield post("base64", to, text, share=5)
        yield post("data URL", to, b"data:image/jpeg;base64," + text, share=5)
        yield post("JSON", to, as_json, "Content-Type: application/json\r\n", share=10)
        yield post("gzip", to, gzip.compress(files["bmp"]), "Content-Encoding: gzip\r\n", share=5)
        chunks = b"".join(
            b"%x\r\n%s\r\n" % (len(part), part) for part in (files["png"][:99], files["png"][99:], b"")
        )
        yield Ask("in chunks", _head("POST", to, "Transfer-Encoding: chunked\r\n"), chunks, GOOD, 5)


def of_heavy(model: str) -> Iterator[Ask]:
    """Yield what takes long: photographs up to 12 megapixels, and a large model."""
    vga, photo = image_bytes(scene(480, 640), "JPEG", quality=88), scene(3000, 4000)
    yield post("vga to the large model", f"/detect?model={model}", vga, share=8)
    yield post("coco of the large model", f"/detect?model={model}&format=coco", vga, share=3)
    yield post("drawn by the large model", f"/detect?model={model}&format=jpeg", vga, share=3)
    yield post("12 MP jpeg", "/detect?model=tiny", image_bytes(photo, "JPEG", quality=80), share=3)
    yield post("12 MP png", "/detect?model=pose", image_bytes(photo, "PNG", "L"), share=0.5)
    yield post("2 MP webp", "/detect?model=obb", image_bytes(scene(1080, 1920), "WEBP"), share=2)
    yield post("2 MP tiff", "/detect?model=segment", image_bytes(scene(1080, 1920), "TIFF"), share=2)
    yield drawing_ask()
    yield post("preview", "/preview", image_bytes(scene(1080, 1920), "TIFF"), share=2)


def of_pages(models: Mapping[str, str]) -> Iterator[Ask]:
    """Yield what browsers, probes and monitors ask for."""
    ready = frozenset((200, 503))
    pages = {"/": 10, "/docs": 3, "/openapi.json": 3, "/metrics": 20, "/readyz": 20, "/healthz": 20}
    pages |= {"/models": 10} | {f"/models/{name}/example": 3 for name in models}
    for path, share in pages.items():
        # The files of a version may be gone a moment before the service stops serving it.
        expected = ready | {404} if path.endswith("/example") else ready
        yield Ask(path.rpartition("/")[2] or "page", _head("GET", path), b"", expected, share)
        yield Ask(f"head of {path}", _head("HEAD", path), b"", expected, share / 5)
    asked = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n"
    yield Ask("options", _head("OPTIONS", "/detect", asked), b"", frozenset((200,)), 10)


def of_mistakes(files: Mapping[str, bytes]) -> Iterator[Ask]:
    """Yield what must be refused; names that callers make up differ each time."""
    name = NUMBER.decode()
    jpeg, png = files["vga jpeg"], files["png"]
    garbage = np.random.default_rng(7).bytes(3000)
    mistakes: dict[str, tuple[str, bytes, int]] = {
        "garbage": ("/detect", garbage, 415),
        "a PDF": ("/detect", b"%PDF-1.7\n" + garbage, 415),
        "cut JPEG": ("/detect?model=tiny", jpeg[: len(jpeg) // 2], 422),
        "cut PNG": ("/detect?model=tiny", png[: len(png) // 2], 422),
        "damaged base64": ("/detect", b'{"image": "' + base64.b64encode(png)[:-9] + b'*"}', 422),
        "empty": ("/detect", b"", 422),
        "too many pixels": ("/detect", image_bytes(np.zeros((4000, 4000), np.uint8)), 413),
        "unknown model": (f"/detect?model=none-{name}", png, 404),
        "unknown version": (f"/detect?model=tiny&version={name}", png, 404),
        "unknown address": (f"/nothing-{name}", png, 403),
        "unknown parameter": (f"/detect?p{name}=1", png, 422),
        "foreign parameter": ("/detect?confidence=0.5", png, 422),
        "wrong value": ("/detect?conf=-1", png, 422),
        "wrong class": (f"/detect?model=tiny&classes=c{name}", png, 422),
        "backend without the model": ("/detect?backend=openvino&model=segment", png, 404),
        "reload without the scope": ("/models/reload", b"", 403),
    }
    for kind, (path, body, status) in mistakes.items():
        yield post(kind, path, body, share=8, expected=BUSY | {status})
    for kind, key in {"no key": "", "unknown key": f"k{name}", "no token": f"e30.{name}.e30"}.items():
        head = _head("POST", "/detect", f"Content-Length: {len(png)}\r\n", key)
        yield Ask(kind, head, png, frozenset((401,)), 8)
    head = _head("POST", "/detect", f"Content-Length: {len(png)}\r\n", SLOW_KEY)
    yield Ask("key with a rate", head, png, GOOD, 8)
    large = _head("POST", "/detect", "Content-Length: 900000000\r\n")
    yield Ask("too large", large, b"", frozenset((413,)), 5, Manner.LEAVE)
    yield post("25 MB", "/detect", bytes(25_000_000), share=0.5, expected=BUSY | {413})
    broken = "Content-Type: multipart/form-data\r\n"
    yield post("broken form", "/detect", png, broken, share=8, expected=BUSY | {400})
    fields = _part("text", None, b"1") * 3 + b"--x--\r\n"
    yield post("form of fields", "/detect", fields, _FORM, share=5, expected=BUSY | {413, 422})
    yield Ask("wrong method", _head("DELETE", "/detect"), b"", frozenset((405,)), 8)
    yield post("too late", "/detect?model=tiny&timeout_ms=1", jpeg, share=10, expected=LATE | {200})


def of_manners(heavy: str) -> Iterator[Ask]:
    """Yield callers that are slow, get stuck, hang up or do not read."""
    file = image_bytes(scene(480, 640), "JPEG", quality=88)
    usual = post("sent in pieces", "/detect?model=tiny", file, share=10)
    yield replace(usual, manner=Manner.SLOW)
    stuck = BUSY | {408}
    yield replace(usual, name="stuck", manner=Manner.STUCK, expected=stuck, share=0.2)
    yield replace(usual, name="hung up in the body", manner=Manner.HANG_UP, share=8)
    left = post("hung up before the answer", f"/detect?model={heavy}", file, share=4)
    yield replace(left, manner=Manner.LEAVE)
    yield Ask("unread", _head("GET", "/openapi.json"), b"", GOOD, 0.5, Manner.UNREAD)


def drawing_ask() -> Ask:
    """Return a request that keeps a thread busy for long with drawing."""
    file = image_bytes(scene(3000, 4000), "JPEG", quality=80)
    return post("12 MP drawn", "/detect?model=tiny&format=jpeg", file, share=0.5)


def burst_ask(model: str) -> Ask:
    """Return the request that many callers send at the same moment."""
    file = image_bytes(scene(480, 640), "JPEG", quality=88)
    return post("at the same moment", f"/detect?model={model}", file, share=0)


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """Return smooth colours with some noise, which files store as small as a photograph."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [128 + 100 * np.sin(x / width * math.tau * cycles + y / height * 3) for cycles in (1, 2, 3)]
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3)).astype(np.float32)
    return (np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)


def post(
    name: str, path: str, body: bytes, headers: str = "", *, share: float, expected: frozenset[int] = GOOD
) -> Ask:
    """Return a POST with a body of known length."""
    head = _head("POST", path, f"Content-Length: {len(body)}\r\n{headers}")
    return Ask(name, head, body, expected, share)


def form(name: str, path: str, files: Sequence[bytes], share: float) -> Ask:
    """Return a POST of a form with files."""
    parts = b"".join(_part(f"file{number}", f"{number}.jpg", file) for number, file in enumerate(files))
    return post(name, path, parts + b"--x--\r\n", _FORM, share=share)


_FORM = "Content-Type: multipart/form-data; boundary=x\r\n"


def _part(name: str, file: str | None, content: bytes) -> bytes:
    named = f'; filename="{file}"' if file else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"


def _head(method: str, path: str, headers: str = "", key: str = KEY) -> bytes:
    # The id and the user agent differ each time, so that whatever keeps them grows.
    own = f"X-Request-Id: soak-{NUMBER.decode()}\r\nUser-Agent: soak/{NUMBER.decode()}\r\n"
    own += f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{own}{headers}\r\n".encode()


def _turned() -> bytes:
    """Return EXIF data that says that the image is on its side."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)  # the orientation: one number of 16 bits, 6
    return b"Exif\x00\x00MM\x00*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
