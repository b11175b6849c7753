"""Every answer tells browsers what they may do with it, and allowed pages can still use the service."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.rest.middleware.security import SecurityHeaders
from service.settings import Settings
from tests.browser import open_browser
from tests.builders import golden_image, image_bytes
from tests.integration.service.test_doorstep import connect, full, head, read_answer

RED = image_bytes(golden_image())
ALWAYS = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
DATA = {
    **ALWAYS,
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


def has(headers, wanted):
    return {name: headers.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/detect", 200),
        ("POST", "/detect?conf=2", 422),
        ("GET", "/detect", 405),
        ("GET", "/other", 404),
        ("GET", "/models", 200),
        ("GET", "/models/tiny/example", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
    ],
)
def test_an_answer_with_data_is_not_kept_and_loads_nothing(served, method, path, status):
    answer = served.client.request(method, path, content=RED if method == "POST" else None)
    assert answer.status_code == status
    assert has(answer.headers, DATA)
    assert all(len(answer.headers.get_list(name)) == 1 for name in DATA)


@pytest.mark.parametrize("path", ["/", "/ui/app.js", "/docs", "/docs/swagger-ui.js"])
def test_the_pages_keep_their_own_headers(served, path):
    headers = served.client.get(path).headers
    assert has(headers, ALWAYS)
    assert headers["cache-control"] == "no-cache"
    assert "script-src 'self'" in headers["content-security-policy"]
    assert len(headers.get_list("content-security-policy")) == 1


def test_refusals_from_the_head_and_of_faulty_heads_have_them_too(repository):
    with full(repository=repository) as (running, _):
        for sent, status in [(head(1000), "429"), (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400")]:
            with connect(running) as connection:
                connection.sendall(sent)
                first, headers, _ = read_answer(connection)
            assert first.split()[1] == status
            assert has(headers, DATA)


def test_a_defect_has_them_too(start, repository, monkeypatch):
    running = start(repository=repository)
    monkeypatch.setattr("service.rest.routes.to_model_list", None)
    answer = running.client.get("/models")
    assert answer.status_code == 500
    assert has(answer.headers, DATA)


def test_with_tls_browsers_are_asked_to_encrypt(tmp_path):
    tls = {"cert": tmp_path / "a.pem", "key": tmp_path / "a.key"}
    always = dict(SecurityHeaders(Settings(tls=tls)).always)
    assert always[b"strict-transport-security"] == b"max-age=86400"
    assert b"strict-transport-security" not in dict(SecurityHeaders(Settings()).always)


# ---- in a browser ------------------------------------------------------------------------------------


@contextmanager
def page_of_another_origin():
    """Serve an empty page, whose host name is none of the service's; yield its origin."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


EMBED = """
const [url, done] = arguments;
const image = new Image();
image.onload = () => done(image.width);
image.onerror = () => done(0);
image.src = url;
"""
FETCH = """
const [url, done] = arguments;
fetch(url).then(answer => answer.json()).then(models => done(models.models.length), () => done(0));
"""


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_page_of_another_origin_gets_what_cors_origins_allows(start, repository, tmp_path, is_allowed):
    with page_of_another_origin() as origin, open_browser(tmp_path) as browser:
        running = start(repository=repository, cors_origins=origin if is_allowed else "")
        browser.get(origin)
        assert browser.execute_async_script(FETCH, f"{running.url}/models") == int(is_allowed)
        width = browser.execute_async_script(EMBED, f"{running.url}/models/tiny/example")
        assert (width > 0) == is_allowed


def test_a_browser_shows_the_example_image_by_itself(start, repository, tmp_path):
    running = start(repository=repository)
    with open_browser(tmp_path) as browser:
        browser.get(f"{running.url}/models/tiny/example")
        assert browser.execute_script("return document.images[0].naturalWidth") > 0
