"""Download of one file from a server that has the faults of real servers and networks."""

import resource
import signal
import socket
import threading
import time

import httpx
import numpy as np
import pytest

from tests.unit.training.download.http_server import serving
from tests.unit.training.messages import collecting
from training.download.catalogue import Archive
from training.download.fetch import CHUNK, Patience, _refuse_errors, fetch, forget, length
from training.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(5 * CHUNK + 17)
OTHER = CONTENT[::-1]
HALF = 3 * CHUNK
HASTY = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=0.02, connect_s=20, read_s=20)


def archive(size, *, checked):
    """What is known of a file: with a checksum exactly its size, without one half of the most it may have."""
    sha256 = "of another place" if checked else None
    return Archive(name="a.zip", url=None, size=size, sha256=sha256, unpacked_limit=0, holds=("a",))


EXACT = archive(len(CONTENT), checked=True)
LOOSE = archive(len(CONTENT), checked=False)


@pytest.fixture
def partial(tmp_path):
    return tmp_path / "a.zip.partial"


def get(server, partial, expected=EXACT, path="/a.zip"):
    with collecting() as said:
        fetch(server.url + path, partial, expected, patience=HASTY)
    return said


def test_a_file_comes_whole_in_one_request(partial):
    with serving(files={"/a.zip": CONTENT}) as server:
        assert get(server, partial) == []
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None]


@pytest.mark.parametrize("content", [b"", b"x"], ids=["nothing", "one byte"])
@pytest.mark.parametrize("exact", [True, False])
def test_the_smallest_files_come_too(partial, content, exact):
    expected = archive(len(content), checked=exact)
    with serving(files={"/a.zip": content}) as server:
        get(server, partial, expected)
    assert partial.read_bytes() == content


def test_a_broken_connection_is_mended_from_where_it_broke(partial):
    with serving(files={"/a.zip": CONTENT}, drops=[HALF, CHUNK]) as server:
        said = get(server, partial)
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None, f"bytes={HALF}-", f"bytes={HALF + CHUNK}-"]
    assert [each[2] for each in server.requests] == [None, '"first"', '"first"']
    assert len(said) == 2
    assert f"{server.url}/a.zip: the connection broke; going on in 0 s" in said


def test_what_a_stopped_run_left_is_gone_on_from(partial):
    partial.write_bytes(CONTENT[:HALF])
    with serving(files={"/a.zip": CONTENT}) as server:
        get(server, partial)
    assert partial.read_bytes() == CONTENT
    assert server.requests == [("/a.zip", f"bytes={HALF}-", None)]


def test_without_a_checksum_nothing_is_joined_that_may_be_of_another_file(partial):
    partial.write_bytes(OTHER[:HALF])
    with serving(files={"/a.zip": CONTENT}) as server:
        get(server, partial, LOOSE)
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None]


def stopped(server, partial, expected=LOOSE):
    """As if Ctrl-C came when half of the file was there."""
    main = threading.main_thread().ident

    def interrupt():
        until = time.monotonic() + 10
        while length(partial) < CHUNK and time.monotonic() < until:
            time.sleep(0.005)
        signal.pthread_kill(main, signal.SIGINT)

    server.drops.append(HALF)
    server.on_drop.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        get(server, partial, expected)
    assert CHUNK <= length(partial) <= HALF


def test_ctrl_c_keeps_what_came_and_the_same_call_goes_on(partial):
    with serving(files={"/a.zip": CONTENT}) as server:
        stopped(server, partial)
        kept = partial.stat().st_size
        get(server, partial, LOOSE)
    assert partial.read_bytes() == CONTENT
    assert server.requests[1:] == [("/a.zip", f"bytes={kept}-", '"first"')]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"etag": '"first"'}, {"etag": '"second"'}, id="another ETag"),
        pytest.param(
            {"etag": 'W/"weak"', "date": "Mon, 01 Jan 2024 00:00:00 GMT"},
            {"etag": 'W/"weak"', "date": "Tue, 02 Jan 2024 00:00:00 GMT"},
            id="another date, where the ETag is weak",
        ),
        pytest.param({"etag": None}, {"etag": None}, id="nothing to tell by"),
    ],
)
def test_a_file_that_changed_is_begun_anew(partial, before, after):
    with serving(files={"/a.zip": OTHER}, **before) as server:
        stopped(server, partial)
        vars(server).update(after, files={"/a.zip": CONTENT})
        get(server, partial, LOOSE)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize(("expected", "asked"), [(EXACT, True), (LOOSE, False)])
def test_what_came_from_another_address_is_joined_only_where_a_checksum_follows(partial, expected, asked):
    with serving(files={"/a.zip": CONTENT, "/b.zip": CONTENT}) as server:
        stopped(server, partial)
        kept = length(partial)
        get(server, partial, expected, "/b.zip")
    assert partial.read_bytes() == CONTENT
    assert server.requests[1:] == [("/b.zip", f"bytes={kept}-" if asked else None, None)]


def test_a_file_of_another_size_is_begun_anew_though_the_server_forgets_to_say_so(partial):
    longer = CONTENT + b"more"
    with serving(files={"/a.zip": OTHER}) as server:
        stopped(server, partial)
        server.files["/a.zip"] = longer
        assert "starting anew" in get(server, partial, LOOSE)[0]
    assert partial.read_bytes() == longer


def test_a_server_without_ranges_sends_all_again(partial):
    with serving(files={"/a.zip": CONTENT}, ranges=False, drops=[HALF]) as server:
        get(server, partial)
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None, f"bytes={HALF}-"]


def test_a_part_that_begins_elsewhere_is_thrown_away(partial):
    partial.write_bytes(CONTENT[:HALF])
    with serving(files={"/a.zip": CONTENT}, off_by=1) as server:
        assert "starting anew" in get(server, partial)[0]
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [f"bytes={HALF}-", None]


def test_what_is_complete_is_not_asked_for_again(partial):
    partial.write_bytes(CONTENT)
    with serving() as server:
        get(server, partial)
    assert server.requests == []


def test_what_is_complete_but_of_unknown_size_is_confirmed_by_the_server(partial):
    with serving(files={"/a.zip": CONTENT}) as server:
        get(server, partial, LOOSE)
        get(server, partial, LOOSE)
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("expected", [EXACT, LOOSE])
def test_more_than_the_file_can_have_is_begun_anew(partial, expected):
    partial.write_bytes(CONTENT * 2 + b"x")
    with serving(files={"/a.zip": CONTENT}) as server:
        get(server, partial, expected)
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again(partial, status):
    with serving(files={"/a.zip": CONTENT}, statuses=[status, status]) as server:
        said = get(server, partial)
    assert partial.read_bytes() == CONTENT
    assert len(said) == 2
    assert f"the server says {status}" in said[0]


def test_a_server_says_how_long_to_wait_within_limits(partial):
    with serving(files={"/a.zip": CONTENT}, statuses=[503], headers={"Retry-After": "3600"}) as server:
        assert "going on in 0 s" in get(server, partial)[0]  # longest_wait_s is 0.02


def test_waits_double_up_to_the_longest():
    patience = Patience(first_wait_s=1, longest_wait_s=5)
    assert [patience.wait_s(failures) for failures in (0, 1, 2, 3, 4, 50)] == [1, 1, 2, 4, 5, 5]


def refusal(server, partial, expected=EXACT, path="/a.zip"):
    with pytest.raises(DownloadError) as refused:
        get(server, partial, expected, path)
    return str(refused.value)


def test_a_server_that_stays_in_trouble_is_given_up(partial):
    with serving(statuses=[500] * 9) as server:
        assert "gave up after 3 attempts without a byte" in refusal(server, partial)
        assert len(server.requests) == 3


def test_a_server_that_breaks_off_but_sends_something_is_not_given_up(partial):
    with serving(files={"/a.zip": CONTENT}, drops=[CHUNK] * 4) as server:
        assert len(get(server, partial)) == 4
    assert partial.read_bytes() == CONTENT


def test_a_server_that_begins_anew_and_breaks_off_each_time_is_given_up(partial):
    with serving(files={"/a.zip": CONTENT}, ranges=False, drops=[CHUNK] * 9) as server:
        assert "gave up" in refusal(server, partial)
        assert len(server.requests) == 4  # the first brought something


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "not there (404); it may have moved"), (410, "not there (410)"), (403, "the server says 403")],
)
def test_a_refusal_is_final(partial, status, message):
    with serving(statuses=[status]) as server:
        assert message in refusal(server, partial)
        assert len(server.requests) == 1
    assert not partial.exists()


def test_a_redirection_is_followed(partial):
    with serving(files={"/b.zip": CONTENT}, statuses=[302], headers={"Location": "/b.zip"}) as server:
        get(server, partial)
    assert partial.read_bytes() == CONTENT


def test_a_redirection_without_end_is_refused(partial):
    with serving(statuses=[302] * 9, headers={"Location": "/a.zip"}) as server:
        assert "too many redirects" in refusal(server, partial)


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_file_of_another_size_is_refused_before_it_comes(partial, difference):
    expected = archive(len(CONTENT) + difference, checked=True)
    with serving(files={"/a.zip": CONTENT}) as server:
        assert f"offers {len(CONTENT):,} bytes where" in refusal(server, partial, expected)
    assert not partial.exists()


@pytest.mark.parametrize("lengths", [True, False], ids=["a length is given", "no length is given"])
def test_a_file_may_be_as_large_as_the_limit_and_no_larger(partial, lengths):
    size = len(CONTENT) // 2
    most = CONTENT[: 2 * size]
    with serving(files={"/a.zip": most}, lengths=lengths) as server:
        get(server, partial, archive(size, checked=False))
        assert partial.read_bytes() == most
        forget(partial)
        server.files["/a.zip"] = most + b"x"
        assert f"{len(most):,}" in refusal(server, partial, archive(size, checked=False))


def test_an_answer_that_ends_early_without_a_length_is_gone_on_from(partial):
    with serving(files={"/a.zip": CONTENT}, lengths=False, drops=[HALF]) as server:
        assert f"ended after {HALF:,} of {len(CONTENT):,} bytes" in get(server, partial)[0]
    assert partial.read_bytes() == CONTENT


def test_a_silent_server_is_given_up(partial):
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        pytest.raises(DownloadError, match="silent for too long"),
    ):
        fetch(
            f"http://127.0.0.1:{deaf.getsockname()[1]}/a",
            partial,
            EXACT,
            patience=Patience(attempts=2, first_wait_s=0.01, read_s=0.05),
        )


def test_no_network_is_said_with_what_to_do(partial):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DownloadError, match=r"Is the network there.*HTTPS_PROXY.*--from"):
        fetch(f"http://127.0.0.1:{port}/a", partial, EXACT, patience=HASTY)


@pytest.mark.parametrize(
    "url", ["ftp://host/a", "/a", "", "http://", "http:///a", "http://[/a", "http://host:70000/a"]
)
def test_what_is_no_address_is_refused(partial, url):
    with pytest.raises(DownloadError, match="not an address that begins with http"):
        fetch(url, partial, EXACT)


def test_the_proxy_of_the_environment_is_used_except_where_it_says_so(partial, monkeypatch):
    with serving(files={"http://data.invalid/a.zip": CONTENT, "/a.zip": CONTENT}) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch("http://data.invalid/a.zip", partial, EXACT, patience=HASTY)
        assert partial.read_bytes() == CONTENT
        forget(partial)
        get(server, partial)
    assert [each[0] for each in server.requests] == ["http://data.invalid/a.zip", "/a.zip"]


def test_a_proxy_that_cannot_be_is_said(partial, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(DownloadError, match="the environment's proxy for http does not work"):
        fetch("http://data.invalid/a.zip", partial, EXACT)


def test_a_full_disk_is_said_and_what_fitted_is_kept(partial):
    with serving(files={"/a.zip": CONTENT}) as server:
        # A limit on files stands in for the disk's end: writing fails in the middle all the same.
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
        try:
            message = refusal(server, partial)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert "no space for more (File too large); free some" in message
        assert partial.read_bytes() == CONTENT[:HALF]
        get(server, partial)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("record", ["", "{", "[]", '{"url": 1}'])
def test_a_damaged_record_counts_for_nothing(partial, record):
    partial.write_bytes(OTHER[:HALF])
    partial.with_name(partial.name + ".json").write_text(record)
    with serving(files={"/a.zip": CONTENT}) as server:
        get(server, partial, LOOSE)
    assert partial.read_bytes() == CONTENT


def test_an_address_with_encryption_does_not_lead_to_one_without():
    first, last = httpx.Request("GET", "https://a/x.zip"), httpx.Request("GET", "http://b/x.zip")
    step = httpx.Response(302, request=first, headers={"Location": "http://b/x.zip"})
    response = httpx.Response(200, request=last, history=[step])
    with pytest.raises(DownloadError, match="leads to an address without encryption"):
        _refuse_errors("https://a/x.zip", response)
    _refuse_errors("http://a/x.zip", response)  # which had none to lose


def test_five_redirections_are_followed_and_a_sixth_is_not(partial):
    home = {"Location": "/a.zip"}
    with serving(files={"/a.zip": CONTENT}, statuses=[302] * 5, headers=home) as server:
        get(server, partial)
        assert partial.read_bytes() == CONTENT
        forget(partial)
        server.statuses.extend([302] * 6)
        assert "too many redirects" in refusal(server, partial)


def test_a_server_that_does_not_encrypt_is_not_asked_again_in_the_hope_that_it_may(partial):
    with serving(files={"/a.zip": CONTENT}) as server:
        url = server.url.replace("http:", "https:") + "/a.zip"
        with pytest.raises(DownloadError, match="no connection that can be trusted"):
            fetch(url, partial, EXACT, patience=HASTY)
        assert server.requests == []


def test_what_came_since_the_last_full_chunk_is_kept_too(partial):
    with serving(files={"/a.zip": CONTENT}, drops=[HALF + 5]) as server:
        get(server, partial)
    assert partial.read_bytes() == CONTENT
    assert server.offsets == [None, f"bytes={HALF + 5}-"]
