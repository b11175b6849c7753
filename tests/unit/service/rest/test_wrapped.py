"""An image that a body wraps in text is found; other text is refused by its name."""

import base64
import json
import tracemalloc
from contextlib import suppress
from urllib.parse import quote

import numpy as np
import pytest

from service.errors import EmptyImage, UndecodableImage, UnsupportedImage
from service.rest.wrapped import Urls, unwrap
from tests.builders import image_bytes

FILES = [
    image_bytes(np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8), image_format)
    for image_format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
]


def base64_of(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("data", FILES)
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda data: data, id="the file itself"),
        pytest.param(base64.b64encode, id="base64"),
        pytest.param(base64.encodebytes, id="base64 in lines"),
        pytest.param(lambda data: base64.urlsafe_b64encode(data).rstrip(b"="), id="base64 of URLs"),
        pytest.param(lambda data: f"data:image/png;base64,{base64_of(data)}".encode(), id="data URL"),
        pytest.param(
            lambda data: f"data:image/png;base64,{quote(base64_of(data))}".encode(), id="escaped data URL"
        ),
        pytest.param(lambda data: f"data:image/png,{quote(data)}".encode(), id="data URL without base64"),
        pytest.param(lambda data: json.dumps({"image": base64_of(data)}).encode(), id="JSON"),
        pytest.param(lambda data: json.dumps(base64_of(data)).encode(), id="JSON text"),
        pytest.param(
            lambda data: json.dumps({"image": f"data:image/png;base64,{base64_of(data)}"}).encode(),
            id="JSON with a data URL",
        ),
        pytest.param(lambda data: b"image=" + quote(base64_of(data), safe="").encode(), id="form field"),
        pytest.param(lambda data: b"image=" + base64.b64encode(data), id="form field, not escaped"),
    ],
)
def test_an_image_is_found_in_its_wrapping(wrap, data):
    assert unwrap(wrap(data)) == data


@pytest.mark.parametrize(
    "body", [b"%PDF-1.7\n", b"<html></html>", b"<svg></svg>", b"II*\x00", b"\xff\xd8\xff"]
)
def test_a_file_that_is_no_image_is_left_for_the_decoder_to_name(body):
    assert unwrap(body) == body


def test_base64_of_a_format_that_is_not_decoded_is_left_for_the_decoder_to_name():
    assert unwrap(base64.b64encode(b"%PDF-1.7 and more")) == b"%PDF-1.7 and more"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"https://example.com/cat.jpg", "this is a URL"),
        (b"S3://bucket/cat.jpg\n", "this is a URL"),
        (b'{"image": "https://example.com/cat.jpg"}', "this is a URL"),
        (b"photo.jpg", "this is text"),
        (b"@photo.jpg", "write --data-binary @photo.jpg"),
        ("größer".encode(), "this is text"),
        (b"conf=0.5", "this is text"),
        (b'{"inputs": "abc"}', "this is JSON with inputs"),
        (b'{"image": "abc", "conf": 0.5}', "parameters go into the URL"),
        (b'{"image": 5}', "this is JSON"),
        (b'["a", "b"]', "this is JSON"),
        (b'{"url": 5}', "a URL that is no text"),
        (b'{"url": null}', "a URL that is no text"),
        (b'{"url": ["https://a.example/"]}', "a URL that is no text"),
        (b'{"urls": "https://a.example/"}', "a URL that is no text"),
        (b'{"urls": ["https://a.example/", 5]}', "a URL that is no text"),
        (b'{"url": "https://a.example/", "conf": 0.5}', "parameters go into the URL"),
        (b'{"url": "https://a.example/", "urls": []}', "nothing else"),
        (b'{"image": "abc', "this is JSON that cannot be read"),
        (b"[" * 100_000, "this is JSON that cannot be read"),
    ],
)
def test_other_text_is_refused_by_its_name(body, words):
    with pytest.raises(UnsupportedImage, match=words):
        unwrap(body)


@pytest.mark.parametrize(
    ("body", "urls"),
    [
        (b'{"url": "https://a.example/1"}', ("https://a.example/1",)),
        (b' {"url": "anything"}\n', ("anything",)),  # whether it may be fetched is checked later
        (b'{"urls": ["https://a.example/1"]}', ("https://a.example/1",)),
        (b'{"urls": ["https://b/2", "https://a/1"]}', ("https://b/2", "https://a/1")),
    ],
)
def test_urls_are_found_in_json(body, urls):
    assert unwrap(body) == Urls(urls)


@pytest.mark.parametrize(
    "body", [b'""', b'{"image": ""}', b"image=", b"data:image/png;base64,", b'{"urls": []}']
)
def test_a_wrapping_without_an_image_is_empty(body):
    with pytest.raises(EmptyImage):
        unwrap(body)


@pytest.mark.parametrize("damage", [lambda text: text[:-1] + "!", lambda text: text + "A%"])
def test_damaged_base64_of_an_image_is_said(damage):
    with pytest.raises(UndecodableImage, match="base64"):
        unwrap(damage(base64_of(FILES[1]).rstrip("=")).encode())


@pytest.mark.parametrize("data", FILES)
def test_what_curl_d_leaves_of_a_file_is_told_how_to_send_it(data):
    stripped = data.translate(None, b"\r\n\0")
    with pytest.raises(UndecodableImage, match="write --data-binary"):
        unwrap(stripped)


@pytest.mark.parametrize(
    "body",
    [
        b"%41" * 300_000,
        b"data:,%20" + b"%41" * 300_000,
        b"data:image/png;base64," + b"%41" * 300_000,
        b"A " * 500_000,
        b"[" + b"{}," * 300_000 + b"{}]",
        b'{"urls": [' + b'"ab",' * 200_000 + b'"ab"]}',
    ],
    ids=lambda body: body[:12].decode(),
)
def test_no_text_takes_many_times_its_own_memory(body):
    tracemalloc.start()
    try:
        with suppress(UnsupportedImage, UndecodableImage):
            unwrap(body)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(body) + 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("at", range(65_533, 65_540))
def test_an_escape_may_stand_anywhere(at):
    data = FILES[1] + bytes(60_000)
    text = base64_of(data)
    escaped = text[:at] + f"%{ord(text[at]):02X}" + text[at + 1 :]
    assert unwrap(f"data:image/png;base64,{escaped}".encode()) == data


def test_json_may_have_so_many_values_and_no_more():
    most = json.dumps({"urls": ["a" + "," * 99_998]}).encode()  # with the brackets, 100,000
    assert unwrap(most) == Urls(("a" + "," * 99_998,))
    with pytest.raises(UnsupportedImage, match="over 100,000 values"):
        unwrap(most.replace(b"a", b"a,"))
