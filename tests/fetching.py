"""A fetcher of images, and the server from which it may fetch."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from service.errors import FetchFailed
from service.fetch.fetcher import Fetcher
from service.fetch.room import Room
from service.guard_settings import FetchSettings
from service.metrics import Metrics
from service.request import RequestContext
from tests.https_server import HOST, https_server

BODY = b"the image" * 1000
LENGTH = len(BODY)
SECRET = b"what only the server knows"
HEAD = b"HTTP/1.1 200 OK\r\n"


class Setup:
    """A server, and a fetcher that may fetch from it."""

    def __init__(self, served, ca, resolver, is_allowed, **settings):
        self.served = served
        self.registry = CollectorRegistry()
        hosts = f"{HOST}:{served.port}"
        self.fetcher = Fetcher(
            FetchSettings(**({"hosts": hosts, "ca": ca, "timeout_s": 5} | settings)),
            Metrics(self.registry),
            resolver=resolver,
            is_allowed=is_allowed,
        )
        self.url = f"https://{HOST}:{served.port}/a.jpg?x=1"

    async def fetch(self, allowed_s=20.0, limit=LENGTH):
        return await self.fetcher.fetch(self.url, RequestContext.within(allowed_s), Room(limit))

    def outcomes(self):
        (family,) = (one for one in self.registry.collect() if one.name == "sparsight_fetches")
        return {one.labels["outcome"]: one.value for one in family.samples if one.value}

    def seconds(self):
        return self.registry.get_sample_value(
            "sparsight_stage_duration_seconds_count", {"stage": "fetch", "backend": "none"}
        )


@asynccontextmanager
async def setup(
    certificate,
    ca,
    answer,
    resolver=lambda host: ["127.0.0.1"],
    is_allowed=lambda address: str(address) == "127.0.0.1",
    **settings,
):
    async with https_server(certificate, answer) as served:
        yield Setup(served, ca, resolver, is_allowed, **settings)


def fetched(certificate, ca, answer, allowed_s=20.0, limit=LENGTH, **settings):
    async def run():
        async with setup(certificate, ca, answer, **settings) as one:
            return await one.fetch(allowed_s, limit)

    return asyncio.run(run())


def failure(certificate, ca, answer, error=FetchFailed, **how):
    """Return the sentence of a fetch that fails; whatever it is, it tells nothing that it should not."""
    with pytest.raises(error) as caught:
        fetched(certificate, ca, answer, **how)
    sentence = str(caught.value)
    assert SECRET.decode() not in sentence
    assert "127.0." not in sentence
    return sentence
