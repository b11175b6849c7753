"""The gRPC channel to Triton uses the settings."""

import asyncio
import socket

import pytest

from service.backends.triton.channel import TritonChannel
from service.errors import BackendUnavailable, DeadlineExceeded
from service.request import RequestContext
from service.settings import TritonSettings


def test_a_proxy_for_the_way_out_is_not_on_the_way_to_triton(monkeypatch):
    async def ask():
        channel = TritonChannel(TritonSettings(url="127.0.0.1:9"))
        with pytest.raises(BackendUnavailable):
            await channel.is_live(0.5)
        await channel.close()

    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        asyncio.run(ask())
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize(("waited_s", "silent"), [(0.0, True), (0.3, False)])
def test_time_spent_waiting_in_our_own_queue_is_not_the_servers_silence(waited_s, silent):
    async def ask(url):
        channel, context = TritonChannel(TritonSettings(url=url)), RequestContext.within(0.5)
        await asyncio.sleep(waited_s)
        with pytest.raises(DeadlineExceeded) as late:
            await channel.infer("m", "1", [], [], context)
        await channel.close()
        return late.value.silent

    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and answers nothing
        assert asyncio.run(ask(f"127.0.0.1:{server.getsockname()[1]}")) is silent
