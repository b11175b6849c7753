"""Images are fetched from the checked address alone, if its certificate is valid; from real servers."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from prometheus_client import CollectorRegistry

from service.errors import FetchFailed, FetchRefused, SettingsInvalid
from service.fetch.fetcher import Fetcher
from service.guard_settings import FetchSettings
from service.metrics import Metrics
from tests.fetching import BODY, SECRET, failure, fetched, setup
from tests.https_server import HOST, https_server, ok, writes

# ---- what is sent, and to whom ---------------------------------------------------------------------------


def test_an_image_is_fetched_and_only_the_url_is_sent(certificate, ca, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def run():
        async with setup(certificate, ca, writes(ok(BODY))) as one:
            assert await one.fetch() == BODY
            assert one.outcomes() == {"fetched": 1}
            assert one.seconds() == 1
            return one.served

    served = asyncio.run(run())
    (request,) = served.requests
    line, *headers = request.decode().rstrip().split("\r\n")
    assert line == "GET /a.jpg?x=1 HTTP/1.1"
    sent = dict(header.split(": ") for header in headers)
    assert sent.pop("User-Agent").startswith("sparsight/")
    assert sent == {
        "Host": f"{HOST}:{served.port}",
        "Accept": "image/*,*/*;q=0.5",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    assert served.names == [HOST]  # TLS asked for the name, though the address was connected to


def test_every_image_has_a_connection_of_its_own(certificate, ca):
    async def run():
        async with setup(certificate, ca, writes(ok(BODY), then_wait=True)) as one:
            for _ in range(2):
                assert await one.fetch() == BODY
                await asyncio.wait_for(one.served.nobody.wait(), 5)
            return one.served.connections

    assert asyncio.run(run()) == 2


def test_the_checked_address_is_the_one_connected_to(certificate, ca):
    lookups = []

    def resolver(host):
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

    async def run():
        async with (
            setup(certificate, ca, writes(ok(BODY)), resolver) as one,
            https_server(certificate, writes(ok(SECRET)), "127.0.0.2") as inner,
        ):
            assert await one.fetch() == BODY
            assert lookups == [HOST]  # once for each image
            with pytest.raises(FetchFailed, match="no public address"):
                await one.fetch()
            assert (one.served.connections, inner.connections) == (1, 0)

    asyncio.run(run())


@pytest.mark.parametrize("addresses", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], []])
def test_all_addresses_must_be_allowed(certificate, ca, addresses):
    async def run():
        async with setup(certificate, ca, writes(ok(BODY)), lambda host: addresses) as one:
            with pytest.raises(FetchFailed, match="no public address"):
                await one.fetch()
            return one.served.connections

    assert asyncio.run(run()) == 0


def test_whether_a_name_exists_is_not_told(certificate, ca):
    def unknown(host):
        raise OSError("no such name")

    sentences = {
        failure(certificate, ca, writes(), resolver=resolver).rpartition(":")[2]
        for resolver in (unknown, lambda host: ["127.0.0.2"])
    }
    assert len(sentences) == 1


def test_the_next_address_is_tried_if_nothing_listens_at_the_first(certificate, ca):
    found = fetched(
        certificate,
        ca,
        writes(ok(BODY)),
        resolver=lambda host: ["127.0.0.3", "127.0.0.1"],
        is_allowed=lambda address: True,
    )
    assert found == BODY


def test_a_url_that_is_refused_is_not_even_looked_up(certificate, ca):
    async def run():
        def resolver(host):
            raise AssertionError(host)

        async with setup(certificate, ca, writes(ok(BODY)), resolver, hosts="other.example") as one:
            with pytest.raises(FetchRefused):
                await one.fetch()
            return one.outcomes()

    assert asyncio.run(run()) == {"refused": 1}


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_no_redirect_is_followed(certificate, ca, status):
    async def run():
        async with https_server(certificate, writes(ok(SECRET))) as other:
            where = f"Location: https://{HOST}:{other.port}/"
            answer = f"HTTP/1.1 {status}\r\n{where}\r\nContent-Length: 0\r\n\r\n".encode()
            async with setup(certificate, ca, writes(answer)) as one:
                with pytest.raises(FetchFailed, match="a redirect, which is not followed") as caught:
                    await one.fetch()
                assert str(other.port) not in str(caught.value)
            return other.connections

    assert asyncio.run(run()) == 0


# ---- certificates -----------------------------------------------------------------------------------------


def test_a_certificate_of_another_authority_is_refused(ca):
    stranger = trustme.CA().issue_cert(HOST)
    assert "certificate is not valid" in failure(stranger, ca, writes(ok(SECRET)))


def test_without_the_extra_authority_only_the_systems_are_trusted(certificate):
    assert "certificate is not valid" in failure(certificate, None, writes(ok(SECRET)))


@pytest.mark.parametrize("name", ["other.example.org", "127.0.0.1", "*.images.example.org"])
def test_a_certificate_for_another_name_is_refused(authority, ca, name):
    assert "certificate is not valid" in failure(authority.issue_cert(name), ca, writes(ok(SECRET)))


def test_an_expired_certificate_is_refused(authority, ca):
    expired = authority.issue_cert(HOST, not_after=datetime.now(UTC) - timedelta(days=1))
    assert "certificate is not valid" in failure(expired, ca, writes(ok(SECRET)))


def test_a_server_without_tls_is_refused(ca):
    assert "certificate" in failure(None, ca, writes(ok(SECRET)))


@pytest.mark.parametrize("content", [None, "no certificate", ""])
def test_a_file_without_certificates_is_said(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsInvalid, match=r"SPARSIGHT_FETCH__CA=.*ca\.pem cannot be read"):
        Fetcher(FetchSettings(hosts=HOST, ca=path), Metrics(CollectorRegistry()))
