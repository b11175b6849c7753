"""A TCP proxy on loopback that delays, swallows, cuts or half closes the connections through it."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 s: closing sends a reset


class Mode(Enum):
    """What happens to the bytes of all connections."""

    PASS = auto()
    HOLE = auto()  # they go nowhere, and the connections stay open
    REFUSE = auto()  # new connections are reset at once


class Proxy:
    """Passes connections on to a port on loopback, from a thread of its own."""

    def __init__(self, target: int = 0, host: str = "127.0.0.1", port: int = 0) -> None:
        self.mode = Mode.PASS
        self.delay_s = 0.0  # how long each piece of data is held back
        self.port = port  # 0: a free one, which is known after the start
        self.target = target  # may be set later
        self._host = host
        self._open: dict[asyncio.StreamWriter, None] = {}  # towards the caller, in order
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        listening = asyncio.start_server(self._serve, self._host, self.port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.mode = Mode.PASS
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Reset every open connection."""
        self._loop.call_soon_threadsafe(self._each, _reset)

    def half_close(self) -> None:
        """Tell the callers that nothing more will come; take their data and drop it."""
        self._loop.call_soon_threadsafe(self._each, _end_writing)

    def _each(self, change: Callable[[asyncio.StreamWriter], None]) -> None:
        for writer in list(self._open):
            change(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:
            _reset(writer)
            return
        self._open[writer] = None
        try:
            from_target, to_target = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        try:
            await asyncio.gather(self._pump(reader, to_target), self._pump(from_target, writer))
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            self._open.pop(writer, None)
            for one in (writer, to_target):
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay_s)
                while self.mode is Mode.HOLE:
                    await asyncio.sleep(0.02)
                with suppress(RuntimeError):  # half closed: nothing more can be written
                    writer.write(data)
                await writer.drain()
        if not writer.is_closing():
            writer.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _end_writing(writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof() and not writer.is_closing():
        writer.write_eof()
