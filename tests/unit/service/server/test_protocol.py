"""A client that takes nothing of its answer is disconnected; one that takes it slowly is not."""

import asyncio
import socket

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
