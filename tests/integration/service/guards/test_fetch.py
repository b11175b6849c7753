"""Callers name images by URL; the real service fetches them from a real https server, if it may."""

import asyncio
import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import trustme

from service.fetch.fetcher import Fetcher
from service.settings import Settings
from tests.builders import golden_image, image_bytes
from tests.https_server import HOST, https_server, ok, writes
from tests.integration.service.conftest import serve, wait_until_ready

PNG = image_bytes(golden_image())


@contextmanager
def background_server(certificate, answer):
    """Run an https server in the loop of a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    manager = https_server(certificate, answer)

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    try:
        seen = run(manager.__aenter__())
        yield seen
        run(manager.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def fetching(authority, repository, tmp_path):
    """Return a function that starts a server with an answer, and a service that may fetch from it."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with ExitStack() as stack:

        def start(answer, **settings):
            seen = stack.enter_context(background_server(authority.issue_cert(HOST), answer))
            fetch = {"hosts": f"{HOST}:{seen.port}", "ca": tmp_path / "ca.pem", **settings.pop("fetch", {})}
            served = stack.enter_context(serve(repository=repository, fetch=fetch, **settings))
            assert wait_until_ready(served).status_code == 200
            # As the service has it; only that the server's address is on this machine is allowed.
            served.app.state.fetcher = Fetcher(
                Settings(fetch=fetch).fetch,
                served.app.state.service.metrics,
                resolver=lambda host: ["127.0.0.1"],
                is_allowed=lambda address: address.is_loopback,
            )
            return served, f"https://{HOST}:{seen.port}", seen

        yield start


def slug(problem):
    return problem["type"].rpartition(":")[2]


def outcomes(served):
    name = "sparsight_fetches_total"
    return {key: value for key, value in served.metrics().items() if key.startswith(name) and value}


def test_an_image_behind_a_url_is_answered_as_its_bytes_are(fetching):
    served, url, seen = fetching(writes(ok(PNG)))
    body = json.dumps({"url": f"{url}/a.png"}).encode()
    by_bytes, by_url = served.detect(PNG).json(), served.detect(body).json()
    assert by_url["predictions"] == by_bytes["predictions"]
    assert by_url["image"] == by_bytes["image"]
    assert served.detect(body, format="jpeg").content == served.detect(PNG, format="jpeg").content
    preview = served.client.post("/preview", content=body)
    assert preview.content == served.client.post("/preview", content=PNG).content
    assert seen.connections == 3
    assert outcomes(served) == {'sparsight_fetches_total{outcome="fetched"}': 3}


def test_nothing_of_the_caller_s_request_goes_to_the_server(fetching):
    served, url, seen = fetching(writes(ok(PNG)))
    headers = {"Authorization": "Bearer of-the-caller", "Cookie": "a=b", "X-Request-Id": "mine"}
    answer = served.client.post("/detect", json={"url": f"{url}/a.png"}, headers=headers)
    assert answer.status_code == 200
    names = {line.partition(b":")[0] for line in seen.requests[0].splitlines()[1:] if line}
    assert names == {b"Host", b"User-Agent", b"Accept", b"Accept-Encoding", b"Connection"}


def test_several_urls_give_a_list_in_their_order(fetching):
    served, url, _ = fetching(writes(ok(PNG)))
    urls = [f"{url}/1", "https://other.example/2", f"{url}/3"]
    for path in ("/detect", "/detect/batch"):
        results = served.client.post(path, json={"urls": urls}).json()["results"]
        assert [one["id"][-2:] for one in results] == ["-1", "-2", "-3"]
        assert slug(results[1]) == "fetch-refused"
        assert results[0]["predictions"] == results[2]["predictions"] != []
    single = served.client.post("/detect/batch", json={"url": "https://other.example/2"})
    assert [slug(one) for one in single.json()["results"]] == ["fetch-refused"]
    assert served.metrics()['sparsight_requests_rejected_total{reason="fetch-refused"}'] == 3


def test_several_urls_are_no_image_to_draw_and_are_not_fetched(fetching):
    served, url, seen = fetching(writes(ok(PNG)))
    body = json.dumps({"urls": [url, url]}).encode()
    assert slug(served.detect(body, format="jpeg").json()) == "invalid-parameter"
    assert slug(served.client.post("/preview", content=body).json()) == "invalid-parameter"
    assert seen.connections == 0


def test_as_many_urls_as_files_and_no_more(fetching):
    served, url, _ = fetching(writes(ok(PNG)), max_files=2)
    answer = served.client.post("/detect", json={"urls": [url] * 2})
    assert [one["predictions"] != [] for one in answer.json()["results"]] == [True, True]
    over = served.client.post("/detect", json={"urls": [url] * 3})
    assert (over.status_code, slug(over.json())) == (413, "form-too-large")


def test_the_limit_is_for_all_images_of_a_request(fetching):
    served, url, _ = fetching(writes(ok(PNG)), fetch={"max_bytes": 2 * len(PNG)})
    assert served.client.post("/detect", json={"urls": [url] * 2}).status_code == 200
    over = served.client.post("/detect", json={"urls": [url] * 3})
    assert (over.status_code, slug(over.json())) == (413, "fetch-too-large")


def test_without_a_limit_of_its_own_that_of_bodies_holds(fetching):
    served, url, _ = fetching(writes(ok(PNG)), max_body_bytes=len(PNG))
    assert served.client.post("/detect", json={"url": url}).status_code == 200
    served, url, _ = fetching(writes(ok(PNG)), max_body_bytes=len(PNG) - 1)
    assert served.client.post("/detect", json={"url": url}).status_code == 413


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (ok(b"secret").replace(b"200", b"404"), 422, "status 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: /secret\r\n\r\n", 422, "redirect"),
        (ok(b"%PDF-1.7 secret"), 415, "PDF"),
        (ok(PNG[:100]), 422, "truncated"),
    ],
)
def test_a_failure_is_told_without_what_the_server_sent(fetching, answer, status, words):
    served, url, _ = fetching(writes(answer))
    problem = served.client.post("/detect", json={"url": url})
    assert problem.status_code == status
    assert words in problem.json()["detail"]
    assert "secret" not in problem.text
    assert "127.0.0.1" not in problem.text


def test_the_log_has_the_reason_in_full_and_no_signature(fetching, caplog):
    served, url, seen = fetching(writes(ok(PNG)))
    served.app.state.fetcher = Fetcher(
        served.app.state.service.settings.fetch,
        served.app.state.service.metrics,
        resolver=lambda host: ["127.0.0.1"],
    )
    served.client.post("/detect", json={"url": f"{url}/a.jpg?signature=abc"})
    (record,) = (record for record in caplog.records if record.msg == "fetch_failed")
    assert record.host == f"{HOST}:{seen.port}"
    assert "not all addresses are public: 127.0.0.1" in record.why
    assert not any("signature" in str(vars(record)) for record in caplog.records)


def test_the_time_limit_of_the_request_includes_the_fetching(fetching):
    served, url, _ = fetching(writes(then_wait=True))
    answer = served.detect(json.dumps({"url": url}).encode(), timeout_ms=100)
    assert (answer.status_code, slug(answer.json())) == (504, "deadline-exceeded")


def test_bytes_that_may_still_come_count_as_in_flight(fetching):
    served, url, seen = fetching(
        writes(then_wait=True),
        max_body_bytes=len(PNG),
        max_inflight_bytes=len(PNG) + 100,
        fetch={"timeout_s": 1},
    )
    waiting = threading.Thread(target=served.client.post, args=("/detect",), kwargs={"json": {"url": url}})
    waiting.start()
    while not seen.open:
        time.sleep(0.01)
    refused = served.detect(PNG)
    assert (refused.status_code, slug(refused.json())) == (429, "overloaded")
    assert "SPARSIGHT_MAX_INFLIGHT_BYTES" in refused.json()["detail"]
    waiting.join()
    assert served.detect(PNG).status_code == 200


def test_a_caller_who_leaves_ends_the_fetching(fetching):
    served, url, seen = fetching(writes(then_wait=True))
    address = served.client.base_url
    body = json.dumps({"url": url}).encode()
    with socket.create_connection((address.host, address.port)) as caller:
        caller.sendall(
            b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        while not seen.open:
            time.sleep(0.01)
    end = time.monotonic() + 3  # the time limit is 5 s
    while seen.open:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert outcomes(served) == {'sparsight_fetches_total{outcome="cancelled"}': 1}


# ---- as it is without a test's own rules -------------------------------------------------------------


def test_without_hosts_a_url_is_refused_and_says_how_it_is_turned_on(served):
    for path in ("/detect", "/detect/batch", "/preview"):
        answer = served.client.post(path, json={"url": "https://images.example.org/a.jpg"})
        assert (answer.status_code, slug(answer.json())) == (422, "fetch-off")
        assert "SPARSIGHT_FETCH__HOSTS" in answer.json()["detail"]
    assert served.app.state.fetcher is None


def test_this_machine_is_never_fetched_from_even_if_it_is_listed(authority, start, repository, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with background_server(authority.issue_cert("localhost", "127.0.0.1", "::1"), writes(ok(PNG))) as seen:
        hosts = f"localhost:{seen.port},127.0.0.1:{seen.port},[::1]:{seen.port}"
        served = start(repository=repository, fetch={"hosts": hosts, "ca": tmp_path / "ca.pem"})
        for host in ("localhost", "LOCALHOST.", "127.0.0.1", "[::1]"):
            answer = served.client.post("/detect", json={"url": f"https://{host}:{seen.port}/"})
            assert (answer.status_code, slug(answer.json())) == (422, "fetch-failed")
            assert answer.json()["detail"].endswith("no public address was found for it")
        assert seen.connections == 0
