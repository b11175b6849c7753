"""Find the image in a body that wraps it in text: base64, a data URL, JSON or a form field."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from service.errors import EmptyImage, UndecodableImage, UnsupportedImage
from service.pipeline.image_formats import FORMATS, name_format

_SHORTEST = 64  # bytes; every longer image file has a zero byte
# Small values and escapes take up to sixty times the memory of their text, if a large text is read at once.
_MOST_VALUES = 100_000  # in JSON; URLs may hold commas, but base64 holds nothing that begins a value
_PIECE = 65_536  # characters of a text that are unescaped at once
_URL = re.compile(r"(https?|ftp|s3|gs|file)://", re.IGNORECASE)
_FORM_FIELD = "image="
_FORM = re.compile(rb"--[^\r\n]{1,70}\r?\nContent-Disposition:", re.IGNORECASE)  # how a multipart form begins
_FIELDS = re.compile(r"[\w.-]+=[^&]*&[\w.-]+=")
_CURL = "with curl, write --data-binary @photo.jpg"


_SEND = 'send {"image": "<base64 of the file>"}'
_SEND_URL = '{"url": "https://…"} or {"urls": ["https://…", …]}'


@dataclass(frozen=True)
class Urls:
    """The images that a body names by URL, in the order sent."""

    texts: tuple[str, ...]


def unwrap(body: bytes) -> bytes | Urls:
    """Return the image file in a request's body: the body itself, or the base64 image in its text.

    The text can be base64, a data URL, the JSON {"image": "<base64>"}, or the form field `image`. For the
    JSON {"url": "…"} or {"urls": ["…", …]}, the function returns the URLs. It also returns a file that is no
    image, for example HTML, because the decoder's error then names the file's format.

    Raises:
        UnsupportedImage: the text holds no image, for example a URL; the message says what to send.
        UndecodableImage: the base64 is damaged, or the file has neither newlines nor zero bytes, because
            `curl -d` has removed both.
        EmptyImage: the text holds nothing.
    """
    if _FORM.match(body):
        sentence = (
            "this is a form, but Content-Type is not multipart/form-data; let the client set this header"
        )
        raise UnsupportedImage(sentence)
    if b"\0" in body:
        return body
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or name_format(body) in FORMATS:
        if len(body) > _SHORTEST and not (b"\n" in body or b"\r" in body):
            sentence = f"the file's newlines and zero bytes are missing, as after curl -d; {_CURL}"
            raise UndecodableImage(sentence)
        return body
    if name_format(body):  # HTML, for example
        return body
    if text.startswith(("{", "[", '"')):
        return _from_json(text)
    if _FIELDS.match(text):
        raise UnsupportedImage("this form has several fields; send image alone, and parameters in the URL")
    return _from_text(text.removeprefix(_FORM_FIELD))


def _from_json(text: str) -> bytes | Urls:
    if sum(map(text.count, ",[{")) > _MOST_VALUES:
        raise UnsupportedImage(f"this is JSON with over {_MOST_VALUES:,} values; {_SEND}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnsupportedImage(f"this is JSON that cannot be read ({error}); {_SEND}") from error
    if isinstance(value, dict) and len(value) == 1 and value.keys() <= {"url", "urls"}:
        return _urls(**value)
    if isinstance(value, dict) and value.keys() == {"image"}:
        value = value["image"]
    if not isinstance(value, str):
        names = f" with {', '.join(value)[:80]}" if value and isinstance(value, dict) else ""
        sentence = f"this is JSON{names}; {_SEND} and nothing else,"
        raise UnsupportedImage(f"{sentence} since parameters go into the URL, as in ?conf=0.5")
    return _from_text(value)


def _urls(url: object = None, urls: object = None) -> Urls:
    named = urls if urls is not None else [url]
    if not isinstance(named, list) or not all(isinstance(text, str) for text in named):
        raise UnsupportedImage(f"this is JSON with a URL that is no text; send {_SEND_URL}")
    if not named:
        raise EmptyImage
    return Urls(tuple(named))


def _from_text(text: str) -> bytes:
    if text[:5].lower() == "data:":
        head, _, content = text.partition(",")
        if not head.lower().replace(" ", "").endswith(";base64"):
            return b"".join(unquote_to_bytes(piece.encode(errors="replace")) for piece in _pieces(content))
        text = content
    if _URL.match(text):
        raise UnsupportedImage(
            "this is a URL; send the file's bytes: curl URL | curl --data-binary @- …/detect;"
            f" or, if the operator allows the URL's host, JSON: {_SEND_URL}"
        )
    text = "".join("".join(unquote(piece).split()) for piece in _pieces(text))
    text = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    if not text:
        raise EmptyImage
    if not name_format(_decoded(text[:1000])):
        raise UnsupportedImage(
            f"this is text, not an image in a supported format; send the file's bytes: {_CURL} (with the @)"
        )
    decoded = _decoded(text)
    if not decoded:
        raise UndecodableImage("the base64 of the image is damaged or cut short; send it again")
    return decoded


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces; no cut goes through an escape such as %2B."""
    begin = 0
    while begin < len(text):
        end = begin + _PIECE
        cut = text.find("%", end - 2, end)
        end = end if cut < 0 else cut
        yield text[begin:end]
        begin = end


def _decoded(text: str) -> bytes:
    """Decode a base64 text whose padding was removed; return no bytes if the text is not base64."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
