"""Bodies that wrap an image, parts of a file that are not looked at, and files with more bits than 8."""

import base64
import gzip
import zlib

import numpy as np
import pytest

from tests.builders import golden_image, image_bytes
from tests.image_files import png_with_chunk

RED = image_bytes(golden_image())
FORM = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + RED + b"\r\n--x--\r\n"
GREY_12_BITS = np.zeros((64, 64), np.uint16)
GREY_12_BITS[0, 0] = 4095
GREY_12_BITS[1:] = 100


def problem(answer, status, slug):
    assert answer.status_code == status, answer.json()
    assert answer.json()["type"] == f"urn:sparsight:problem:{slug}"
    return answer.json()["detail"]


def sent(served, body, **headers):
    return served.client.post(
        "/detect", content=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (base64.b64encode(RED), {}),
        (b'{"image": "' + base64.b64encode(RED) + b'"}', {"content_type": "application/json"}),
        (b"data:image/png;base64," + base64.b64encode(RED), {"content_type": "text/plain"}),
        (gzip.compress(RED), {"content_encoding": "gzip"}),
        (zlib.compress(RED), {"content_encoding": "deflate"}),
        (RED, {"content_encoding": ""}),
        (b"\xef\xbb\xbf" + base64.b64encode(RED), {}),
        (b'\xef\xbb\xbf{"image": "' + base64.b64encode(RED) + b'"}', {"content_type": "application/json"}),
        (b"data:image/png; base64, " + base64.b64encode(RED), {}),
        (gzip.compress(base64.b64encode(RED)), {"content_encoding": "GZIP"}),
        (RED, {"content_encoding": "identity", "content_type": "application/x-www-form-urlencoded"}),
    ],
)
def test_a_wrapped_image_gives_the_answer_of_the_image_itself(served, body, headers):
    answer = sent(served, body, **headers)
    assert answer.status_code == 200, answer.json()
    assert answer.json()["predictions"] == served.detect(RED).json()["predictions"]
    assert answer.json()["warnings"] == []


def test_a_form_may_be_packed_too(served):
    headers = {"content_type": "multipart/form-data; boundary=x", "content_encoding": "gzip"}
    assert sent(served, gzip.compress(FORM), **headers).status_code == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip"])
def test_another_content_encoding_is_refused_by_its_name(served, encoding):
    words = problem(sent(served, RED, content_encoding=encoding), 415, "unsupported-image")
    assert words.startswith(f"Content-Encoding '{encoding}' is not unpacked here")


@pytest.mark.parametrize("body", [RED, gzip.compress(RED)[:-1], gzip.compress(RED) + b"x", b"\x1f\x8b\x08"])
def test_what_is_not_whole_gzip_is_refused(served, body):
    assert "is not whole gzip data" in problem(
        sent(served, body, content_encoding="gzip"), 422, "undecodable-image"
    )


def test_the_limit_holds_for_the_bytes_that_are_unpacked(start, repository):
    limited = start(repository=repository, max_body_bytes=len(RED))
    assert sent(limited, gzip.compress(RED), content_encoding="gzip").status_code == 200
    padded = gzip.compress(RED + bytes(1))
    assert len(padded) <= len(RED)
    problem(sent(limited, padded, content_encoding="gzip"), 413, "body-too-large")
    bomb = gzip.compress(bytes(10**7))
    bomb_limited = start(repository=repository, max_body_bytes=len(bomb))
    problem(sent(bomb_limited, bomb, content_encoding="gzip"), 413, "body-too-large")


def test_the_limit_holds_for_the_bytes_of_base64(start, repository):
    text = base64.b64encode(RED)
    assert sent(start(repository=repository, max_body_bytes=len(text)), text).status_code == 200
    problem(sent(start(repository=repository, max_body_bytes=len(text) - 1), text), 413, "body-too-large")


def test_the_pixel_limit_holds_for_what_base64_wraps(start, repository):
    limited = start(repository=repository, max_pixels=64 * 64 - 1)
    problem(sent(limited, base64.b64encode(RED)), 413, "image-too-large")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"https://example.com/a.jpg", "this is a URL"),
        (b"<!DOCTYPE html><html></html>", "HTML is not decoded here"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC is not decoded here; convert it to JPEG"),
        (bytes(128) + b"DICM", "DICOM is not decoded here"),
        (b'{"link": "x"}', "this is JSON with link"),
        (b"{}", "this is JSON; send"),
        (b'{"\\ud800": 1}', "this is JSON with ?; send"),
        (b'{"image": "data:,\\ud800"}', "this is not an image in a supported format"),
        (b'{"image": "data:image/png;base64,\\ud800"}', "this is text, not an image"),
        (b"image=" + base64.b64encode(RED) + b"&conf=0.4", "this form has several fields; send image alone"),
        (FORM, "this is a form, but Content-Type is not multipart/form-data"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name(served, body, words):
    assert words in problem(sent(served, body), 415, "unsupported-image")


def test_what_is_not_looked_at_is_a_warning(served):
    (warning,) = served.detect(image_bytes(GREY_12_BITS)).json()["warnings"]
    assert warning.startswith("bits-dropped: the values have 16 bits, of which 12 are used")


def test_the_bits_can_be_stated_by_request_and_by_setting(served, start, repository):
    data = png_with_chunk(GREY_12_BITS, b"sBIT", [16])
    assert "of which" not in served.detect(data).json()["warnings"][0]
    assert "of which 12 are used (as the setting says)" in served.detect(data, bits=12).json()["warnings"][0]
    running = start(repository=repository, bits=14)
    assert "of which 14 are used" in running.detect(data).json()["warnings"][0]
    assert "of which 12 are used" in running.detect(data, bits=12).json()["warnings"][0]


@pytest.mark.parametrize("bits", [7, 17, "many"])
def test_bits_that_no_file_holds_are_refused(served, bits):
    assert "a whole number from 8 to 16" in problem(served.detect(RED, bits=bits), 422, "invalid-parameter")


def test_a_form_without_its_boundary_is_told_what_to_do(served):
    words = problem(sent(served, FORM, content_type="multipart/form-data"), 400, "malformed-form")
    assert words == (
        "the form cannot be read: Missing boundary in multipart; let the client set the header Content-Type"
    )


def test_half_a_surrogate_pair_in_the_name_of_a_field_is_left_out(served):
    body = b'--x\r\nContent-Disposition: form-data; name="a\\ud800"\r\n\r\n1\r\n--x--\r\n'
    headers = {"content_type": "multipart/form-data; boundary=x; charset=unicode_escape"}
    assert "form field 'a' is not a file" in problem(sent(served, body, **headers), 422, "invalid-parameter")


@pytest.mark.parametrize("missing", [len(FORM) - 40, 100, 5, 4])
def test_a_form_that_is_cut_short_is_refused(served, missing):
    headers = {"content_type": "multipart/form-data; boundary=x"}
    two = FORM.removesuffix(b"--x--\r\n") + FORM
    for form in (FORM, two):
        words = problem(sent(served, form[:-missing], **headers), 400, "malformed-form")
        assert "it is cut short, since its last boundary is missing" in words
        assert sent(served, form[:-2], **headers).status_code == 200  # some clients omit the last newline
