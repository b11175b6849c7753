"""A real https server on a free loopback port, whose answers a test writes byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import trustme

HOST = "images.example.org"
Answer = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


@dataclass
class Served:
    """What the server has seen."""

    port: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)  # that TLS asked for
    nobody: asyncio.Event = field(default_factory=asyncio.Event)  # set when the last connection has ended


@asynccontextmanager
async def https_server(
    certificate: trustme.LeafCert | None, answer: Answer, address: str = "127.0.0.1"
) -> AsyncGenerator[Served]:
    """Serve `answer` to every connection; over plain TCP if there is no certificate."""
    served = Served()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        served.open += 1
        served.most_open = max(served.most_open, served.open)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                if certificate is not None:
                    served.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await _until_gone(reader, answer(writer))
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            served.open -= 1
            if not served.open:
                served.nobody.set()

    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(tls)
        tls.sni_callback = lambda _, name, __: served.names.append(name)
    server = await asyncio.start_server(serve_one, address, 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        if served.open:
            await asyncio.wait_for(served.nobody.wait(), 10)
        await server.wait_closed()


async def _until_gone(reader: asyncio.StreamReader, answering: Coroutine[Any, Any, None]) -> None:
    tasks = asyncio.ensure_future(reader.read()), asyncio.ensure_future(answering)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def writes(*parts: bytes, then_wait: bool = False) -> Answer:
    """Return an answer that writes `parts`, and then ends, or waits until the client leaves."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_wait:
            await asyncio.Event().wait()

    return answer


def repeats(head: bytes, part: bytes, pause_s: float = 0.0) -> Answer:
    """Return an answer that writes `head`, and then `part` for ever."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer


def ok(body: bytes, *headers: bytes) -> bytes:
    """Return a whole answer with a body."""
    lines = (b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
