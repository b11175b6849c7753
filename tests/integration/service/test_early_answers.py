"""An answer that comes before the end of the body reaches a client that is still sending."""

import http.client
import shutil
import socket
import subprocess
import time

import httpx
import pytest

from service.rest.middleware import wrap as middleware
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.test_refusals import refused

RED = image_bytes(golden_image())
LIMIT = 100_000
LARGE = bytes(8_000_000)  # more than the buffers of the sockets hold


@pytest.fixture(scope="module")
def limited(repository):
    with serve(repository=repository, max_body_bytes=LIMIT, max_files=2) as running:
        wait_until_ready(running)
        yield running


def connect(running):
    host, port = running.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(target, *headers, version="1.1"):
    return "\r\n".join([f"POST {target} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_everything_before_it_reads_gets_the_413(limited, headers, chunked):
    host, port = limited.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    body = iter([LARGE[i : i + 65536] for i in range(0, len(LARGE), 65536)]) if chunked else LARGE
    connection.request("POST", "/detect", body=body, headers=headers, encode_chunked=chunked)
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"SPARSIGHT_MAX_BODY_BYTES" in answer.read()
    connection.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_slow_client_gets_the_413_and_may_send_to_the_end(limited, version):
    with connect(limited) as connection:
        head = (
            f"POST /detect HTTP/{version}\r\nHost: x\r\nConnection: close\r\nContent-Length: 1200000\r\n\r\n"
        )
        connection.sendall(head.encode())
        for _ in range(12):
            connection.sendall(bytes(100_000))
            time.sleep(0.03)
        assert read_all(connection).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("target", "status"),
    [("/detect?overlap=30", 422), ("/nowhere", 404), ("/healthz", 405), ("/detect?model=x", 404)],
)
def test_other_early_answers_reach_the_client_too(limited, target, status):
    with connect(limited) as connection:
        head = (
            f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(LARGE)}\r\n\r\n"
        )
        connection.sendall(head.encode())
        connection.sendall(LARGE)
        assert read_all(connection).startswith(f"HTTP/1.1 {status}".encode())


def test_a_client_that_waits_for_100_continue_is_not_told_to_send(limited):
    with connect(limited) as connection:
        connection.sendall(head("/detect", "Expect: 100-continue", f"Content-Length: {len(LARGE)}"))
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.lower()
        connection.sendall(LARGE)  # a client that had not waited: still no reset
        assert b"100 Continue" not in answer + read_all(connection)


def test_a_refused_body_that_is_never_sent_is_not_confused_with_the_next_request(limited):
    with connect(limited) as connection:
        connection.sendall(head("/detect?overlap=30", "Expect: 100-continue", "Content-Length: 500"))
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 422")
        assert b"connection: close" in answer.lower()


def test_a_client_that_waits_and_may_send_is_answered(limited):
    with connect(limited) as connection:
        head = (
            f"POST /detect HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(RED)}\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(RED)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "flags", [[], ["--header", "Expect:"], ["--header", "Expect: 100-continue"], ["--http1.0"],
              ["--header", "Transfer-Encoding: chunked"], ["--header", "Connection: close"]],
)  # fmt: skip
@pytest.mark.parametrize("form", [False, True])
def test_curl_gets_the_413(limited, tmp_path, flags, form):
    (tmp_path / "large.jpg").write_bytes(LARGE)
    source = f"@{tmp_path / 'large.jpg'}"
    sent = ["--form", f"image={source}"] if form else ["--data-binary", source]
    ended = subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", *flags, *sent, f"{limited.url}/detect"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ":body-too-large" in ended.stdout


def test_a_connection_with_a_small_unread_body_is_kept(limited):
    with connect(limited) as connection:
        for _ in range(2):
            connection.sendall(head("/nowhere", f"Content-Length: {LIMIT}") + bytes(LIMIT))
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 404")
            assert b"connection: close" not in answer.lower()


@pytest.mark.parametrize(("name", "value"), [("DROP_S", 0.3), ("SILENT_S", 0.3), ("_DROP_BYTES", 1_000_000)])
def test_the_reading_on_has_limits(limited, monkeypatch, name, value):
    monkeypatch.setattr(middleware, name, value)
    began = time.monotonic()
    with connect(limited) as connection:
        connection.sendall(head("/detect", "Transfer-Encoding: chunked"))
        ended = False
        try:
            while not ended:
                if name != "SILENT_S" or time.monotonic() - began < 0.1:
                    connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                    time.sleep(0.01)
                else:
                    ended = read_all(connection).startswith(b"HTTP/1.1 413")
                assert time.monotonic() - began < 10
        except (ConnectionResetError, BrokenPipeError):
            pass


def test_the_duration_of_a_refused_request_does_not_include_the_reading_on(limited):
    with connect(limited) as connection:
        connection.sendall(head("/detect", "Content-Length: 9000000"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        time.sleep(0.1)
        assert limited.metrics()["sparsight_inflight_requests"] == 1  # the request for the metrics


def form(*parts):
    """Return a form as bytes; each part is the rest of its Content-Disposition, and its bytes."""
    rows = [b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + data for head, data in parts]
    return b"\r\n".join([*rows, b"--b--\r\n"])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([(b'name="f"; filename="a"', RED)] * 3, "more than 2 files (SPARSIGHT_MAX_FILES)"),
        ([(b'name="x"', b"1")] * 9, "at most 2 files (SPARSIGHT_MAX_FILES), a form may have no fields"),
        ([(b'name="f"; filename="' + b"n" * 5000 + b'"', RED)], "send a shorter name"),
        ([(b'name="f"; filename="a"\r\nX-A: 1' + b"\r\nX-B: 2" * 9, RED)], "too many headers"),
    ],
    ids=["files", "fields", "name", "headers"],
)
def test_a_form_over_a_limit_is_a_413_that_says_what_to_do(limited, parts, words):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = limited.client.post("/detect", content=form(*parts), headers=headers)
    assert words in refused(answer, 413, "form-too-large")


def test_a_large_text_field_is_told_to_be_a_file(start, repository):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = form((b'name="image"', bytes(1024 * 1024 + 1)))
    answer = start(repository=repository).client.post("/detect", content=body, headers=headers)
    assert "send each image as a file, as in curl -F image=@photo.jpg" in refused(
        answer, 413, "form-too-large"
    )


def test_limits_name_their_settings(start, repository):
    running = start(repository=repository, max_pixels=64 * 64 - 1, max_inflight=1, body_timeout_s=0.5)
    assert "(SPARSIGHT_MAX_PIXELS)" in refused(running.detect(RED), 413, "image-too-large")
    with connect(running) as connection:
        connection.sendall(head("/detect", "Content-Length: 100"))
        time.sleep(0.1)
        with httpx.Client(base_url=running.url, trust_env=False) as other:
            answer = other.post("/detect", content=RED)
        assert "(SPARSIGHT_MAX_INFLIGHT)" in refused(answer, 429, "overloaded")
        assert b"(SPARSIGHT_BODY_TIMEOUT_S)" in connection.recv(65536)


def test_a_length_with_thousands_of_zeros_is_a_number(limited):
    with connect(limited) as connection:
        connection.sendall(head("/detect", f"Content-Length: {len(RED):05000}", "Connection: close") + RED)
        assert read_all(connection).startswith(b"HTTP/1.1 200")
