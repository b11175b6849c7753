"""The gRPC channel to Triton uses the settings."""

import asyncio
import socket

import grpc
import pytest
from tritonclient.grpc import service_pb2

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


def test_calls_that_run_survive_when_the_gateway_connects_anew():
    async def answer_late(request, context):
        await asyncio.sleep(0.4)
        return service_pb2.ModelInferResponse(model_name=request.model_name)

    async def refuse(request, context):
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async def ask():
        server = grpc.aio.server()
        for name, method, kind in (
            ("ModelInfer", answer_late, service_pb2.ModelInferRequest),
            ("ServerLive", refuse, service_pb2.ServerLiveRequest),
        ):
            handler = grpc.unary_unary_rpc_method_handler(
                method, kind.FromString, lambda message: message.SerializeToString()
            )
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {name: handler})]
            )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = TritonChannel(TritonSettings(url=f"127.0.0.1:{port}"))
        running = asyncio.create_task(channel.infer("m", "1", [], [], RequestContext.within(20.0)))
        await asyncio.sleep(0.1)
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                await channel.is_live(1.0)
        answered = (await running).get_response().model_name
        await channel.close()
        await server.stop(None)
        return answered

    assert asyncio.run(ask()) == "m"
