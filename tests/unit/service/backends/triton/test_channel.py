"""The gRPC channel to Triton uses the settings."""

import asyncio
import socket

import pytest

from service.backends.triton.channel import TritonChannel
from service.errors import BackendUnavailable
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
