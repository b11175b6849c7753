"""A client that takes nothing of its answer is disconnected; one that takes it slowly is not."""

import asyncio
import socket
import time

import pytest
import uvloop
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.server import ServerState

from service.server import protocol
from service.server.protocol import DoorProtocol

ANSWER = bytes(1_000_000)


def received(every_s):
    """Return how many bytes of an answer reach a client that reads a part of it `every_s` seconds."""

    async def scene():
        app = FastAPI()
        app.state.doorstep = app.state.head_answers = app.state.service = None
        loop = asyncio.get_running_loop()
        ours, clients = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        clients.setblocking(False)
        made = DoorProtocol(Config(app, log_config=None), ServerState(), {}, loop)
        transport, _ = await loop.connect_accepted_socket(lambda: made, ours)
        transport.write(ANSWER)
        count = 0
        with clients:
            while count < len(ANSWER):
                await asyncio.sleep(every_s)
                part = await loop.sock_recv(clients, 50_000)
                if not part:
                    break
                count += len(part)
        transport.close()
        return count

    return asyncio.run(scene())


def test_a_client_that_reads_slowly_has_its_whole_answer(monkeypatch):
    monkeypatch.setattr(protocol, "UNREAD_S", 0.4)
    assert received(every_s=0.01) == len(ANSWER)  # takes more than a second


def test_a_client_that_does_not_read_is_disconnected(monkeypatch):
    monkeypatch.setattr(protocol, "UNREAD_S", 0.1)
    assert 0 < received(every_s=0.5) < len(ANSWER) / 2


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("arrives", [True, False])
def test_an_idle_connection_is_not_closed_under_a_request_that_waits_to_be_read(loop_factory, arrives):
    async def scene():
        app = FastAPI()
        app.state.doorstep = app.state.head_answers = app.state.service = None
        loop = asyncio.get_running_loop()
        ours, clients = socket.socketpair()
        ours.setblocking(False)
        made = DoorProtocol(Config(app, log_config=None), ServerState(), {}, loop)
        read = []
        made.data_received = read.append
        transport, _ = await loop.connect_accepted_socket(lambda: made, ours)
        with clients:
            for _ in range(3):  # however late the loop is each time
                if arrives:
                    clients.send(b"GET / HTTP/1.1\r\n")
                    time.sleep(0.02)
                made.timeout_keep_alive_handler()
                assert transport.is_closing() != arrives
                if arrives:
                    async with asyncio.timeout(5):
                        while not read:
                            await asyncio.sleep(0)
                    assert read.pop() == b"GET / HTTP/1.1\r\n"
                    made.timeout_keep_alive_task.cancel()  # as data_received does
            assert transport.is_closing() != arrives
            if arrives:  # the body of a refused request has a limit on time, whether more of it waits or not
                clients.send(b"x")
                made._refused_s = 0.0
                made.timeout_keep_alive_handler()
                assert transport.is_closing()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scene())
