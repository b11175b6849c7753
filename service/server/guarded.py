"""Let uvicorn accept only complete, unambiguous heads of requests, and limit bytes, time and connections.

uvicorn alone has these faults. It waits without a limit for the head of a request, keeps a head of any size,
and has no limit on connections. If bytes are not HTTP, its error goes into the middle of the previous answer.
After a request that ends the connection, it still parses what follows. It takes the body of a request for
another protocol as a further request. It adds the trailer fields after a chunked body to the headers.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.rest.heads import (
    LARGEST_HEAD,
    NOT_HTTP,
    TOO_LARGE,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_REQUESTS,
    TOO_SLOW,
    Fault,
    HeadAnswers,
    fault_of,
)
from service.rest.middleware.ports import IS_ADMIN_PORT

log = logging.getLogger(__name__)

HEAD_S = 10.0  # how long a head may take, from its first byte, or from the begin of the connection
MOST_WAITING = 100  # requests behind one that is being answered; each takes a hundred times its own bytes
LINGER_S = 1.0  # after a 431, so that a client that is still sending its head can read the answer


@dataclass(frozen=True)
class Port:
    """The properties that all connections of one port share."""

    is_admin: bool = False
    max_connections: int | None = None


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one HTTP/1.1 connection, with additional checks and limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        port: Port | None = None,
    ) -> None:
        """Serve one connection; the app of `config` is the service's."""
        super().__init__(config, server_state, app_state, _loop)
        self._port = port or Port()
        self._answers: HeadAnswers = cast("FastAPI", config.app).state.head_answers
        self._running: RequestResponseCycle | None = None  # the newest request that the app has had
        self._deaf = False  # whether all further bytes are dropped
        self._in_head = False
        self._untold_bytes = 0  # bytes since the parser last reported a head or a part of a body
        self._clock: asyncio.TimerHandle | None = None  # set while a head must end in time

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for the first head, or refuse the connection."""
        self.transport = transport
        most = self._port.max_connections
        if most is not None and len(self.connections) >= most:
            self._deaf = True
            self._write(TOO_MANY_CONNECTIONS)
            transport.close()
            return
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the request that the app is answering; uvicorn notifies only the newest request."""
        self._stop_clock()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that have arrived, unless this connection ignores all further bytes."""
        if self._deaf:
            return
        self._untold_bytes += len(data)
        super().data_received(data)
        if self._deaf or self.transport.is_closing():
            return
        if self._untold_bytes > LARGEST_HEAD:  # also for the lines between the chunks of a body
            self.refuse(TOO_LARGE)
        elif self._in_head or (self.timeout_keep_alive_task is None and not self.is_busy()):
            self._start_clock()  # only here, as most heads arrive at once

    def is_busy(self) -> bool:
        """Return whether a request is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    # ---- what the parser tells ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        if self._deaf:
            return
        super().on_message_begin()
        self._in_head = True
        if self._port.is_admin:
            self.scope["state"][IS_ADMIN_PORT] = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header, as uvicorn does; drop trailer fields, which the app would take for headers."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check a complete head; accept the request or refuse it."""
        self._in_head = False
        self._untold_bytes = 0
        self._stop_clock()
        if self._deaf or self.transport.is_closing():
            self._deaf = True
            return
        upgrades = self.parser.should_upgrade()
        fault = fault_of(self.url, self.headers, self.parser.get_http_version(), upgrades=upgrades)
        if fault is not None:
            self.refuse(fault)
            return
        if len(self.pipeline) >= MOST_WAITING:
            self.refuse(TOO_MANY_REQUESTS)
            return
        self.on_request()
        if upgrades:  # what follows would be in the other protocol
            self.cycle.keep_alive = False

    def on_request(self) -> None:
        """Pass on a request whose head has passed the checks."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body."""
        self._untold_bytes = 0
        if not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, and ignore further bytes if the connection must end with it."""
        self._untold_bytes = 0
        if not self._deaf:
            super().on_message_complete()
            self._deaf = not self.cycle.keep_alive

    # ---- refusals ----------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that the parser cannot read."""
        self.refuse(NOT_HTTP)

    def refuse(self, fault: Fault) -> None:
        """Answer a faulty request after all earlier requests are answered, and close the connection."""
        if self._deaf:
            return
        self._deaf = True
        self._stop_clock()
        last: RequestResponseCycle | None = self.cycle if self.is_busy() else None
        if last is not None and last.more_body and self.pipeline:  # the app has not begun it
            self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else self._running
        if last is not None and not last.more_body:
            # Answers are in the order of the requests, so the fault gets none: the last answer ends it all.
            last.keep_alive = False
            self._answers.refuse(fault)
            return
        if last is not None:
            last.disconnected = True
            last.message_event.set()
        if last is None or not last.response_started:
            self._write(fault)
        if fault is TOO_LARGE:
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _write(self, fault: Fault) -> None:
        headers, body = self._answers.refuse(fault)
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join((STATUS_LINE[fault[0]], *lines, b"\r\n", body)))

    def _start_clock(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(HEAD_S, self._on_late_head)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _on_late_head(self) -> None:
        self._clock = None
        if self.is_busy() or self.flow.read_paused:  # the head may be late because of the service
            self._start_clock()
        elif self._in_head:
            self.refuse(TOO_SLOW)
        else:  # a 408 to a client that asks for nothing could be taken for the answer to its next request
            self._deaf = True
            self.transport.close()

    # ---- of uvicorn --------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        return False  # never upgrade to WebSockets, even if a library for them is installed

    def _unsupported_upgrade_warning(self) -> None:
        pass  # uvicorn would advise to install a WebSocket library

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)  # type: ignore[arg-type]
            except asyncio.CancelledError:  # only at the end of the time that a service has to stop
                await self._cut(cycle)

        super()._start_asgi_task(cycle, cast("ASGI3Application", answer))

    async def _cut(self, cycle: RequestResponseCycle) -> None:
        """End a request cleanly when the time to stop is over; uvicorn would write a traceback instead."""
        request_id: str = cycle.scope["state"].get("request_id", "")
        log.warning("request_cut", extra={"path": cycle.scope["path"][:200], "id": request_id})
        if not cycle.response_started:
            headers, body = self._answers.cut(request_id)
            await cycle.send({"type": "http.response.start", "status": 503, "headers": headers})
            await cycle.send({"type": "http.response.body", "body": body, "more_body": False})
        elif not cycle.response_complete:
            cycle.disconnected = True
            self.transport.close()
