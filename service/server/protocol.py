"""Let uvicorn refuse requests with images before it creates a task for them, and drop their bodies.

uvicorn has no setting for this. For each request, it creates a task, keeps the body in memory, and pauses and
resumes the reading from the socket. It writes the head and the body of an answer separately.

uvicorn also waits without a limit for a client that does not read its answers. If such a client had sent a
second request, it would occupy a place in the service for ever. DoorProtocol therefore aborts such
connections. Everything else is done by uvicorn, and by the checks of guarded.py.
"""

import asyncio
import select
import sys
from typing import Any, cast

from fastapi import FastAPI
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from service.rest.middleware.door import TOO_MANY
from service.rest.middleware.doorstep import Doorstep
from service.rest.middleware.wrap import DROP_S, SILENT_S
from service.server.guarded import GuardedProtocol, Port
from service.serving.detect import DetectService

_READ_FIRST_S = 0.01  # time for the event loop to read from its sockets
UNREAD_S = 60.0  # as nginx's send_timeout: how long a client may take nothing of its answers


class DoorProtocol(GuardedProtocol):
    """uvicorn's protocol for one HTTP/1.1 connection, which asks the doorstep before it calls the app."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        port: Port | None = None,
    ) -> None:
        """Serve one connection; the app of `config` is the service's."""
        super().__init__(config, server_state, app_state, _loop, port)
        state = cast("FastAPI", config.app).state
        self._doorstep: Doorstep = state.doorstep
        self._service: DetectService = state.service
        self._refused_s: float | None = None  # when the dropping of a refused request's body began
        self._ends = False  # whether the connection ends with that body
        self._unread: asyncio.TimerHandle | None = None  # set while the client does not read fast enough

    def on_request(self) -> None:
        """Refuse the request here, or pass it to the app."""
        refused = self._doorstep.refuse(self.url, self.headers) if self._is_plain() else None
        if refused is None:
            super().on_request()
            return
        headers, body = refused
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self._ends = self._service.stopping or not self.parser.should_keep_alive()
        if self._ends:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join((STATUS_LINE[TOO_MANY], *lines, b"\r\n", body)))
        self._refused_s = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; drop it if the request was refused here."""
        if self._refused_s is None:
            super().on_body(body)
        else:
            self._untold_bytes = 0

    def on_message_complete(self) -> None:
        """End the request; after a refusal, wait for the next request or close the connection."""
        if self._refused_s is None:
            super().on_message_complete()
            return
        self._refused_s = None
        self._untold_bytes = 0
        self.on_response_complete()
        if self._ends:
            self._deaf = True
            self.transport.close()
        elif self._doorstep.must_hold():
            self.flow.pause_reading()
            self._doorstep.hold().add_done_callback(self._on_let_go)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that have arrived; limit the time that a refused body may still take."""
        super().data_received(data)
        if self._refused_s is not None:
            if self.timeout_keep_alive_task is not None:  # the previous answer's timer
                self.timeout_keep_alive_task.cancel()
            left_s = self._refused_s + DROP_S - self.loop.time()
            self.timeout_keep_alive_task = self.loop.call_later(
                max(0.0, min(SILENT_S, left_s)), self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has arrived on it that the event loop has not read yet.

        The timer may be late, after other work or after a suspension of this process (see the fault
        gateway-suspended in tests/faults). A late timer runs before the event loop reads from the sockets.
        """
        if self._refused_s is None and self._has_unread():
            again = self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(_READ_FIRST_S, again)
        else:
            super().timeout_keep_alive_handler()

    def _has_unread(self) -> bool:
        """Return whether the system holds bytes for this connection that the event loop has not read."""
        if self.transport.is_closing() or sys.platform == "win32":
            return False
        waiting = select.poll()
        waiting.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    def pause_writing(self) -> None:
        """Begin to watch whether the client still reads."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Continue with the answer, because the client reads again."""
        self._watch_no_more()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of this connection when it is lost."""
        self._watch_no_more()
        super().connection_lost(exc)

    def is_busy(self) -> bool:
        """Return whether a request is being received, refused or answered."""
        return self._refused_s is not None or super().is_busy()

    def shutdown(self) -> None:
        """Close the connection; wait for the end of a refused body, or the client could lose the answer."""
        if self._refused_s is None:
            super().shutdown()
        else:
            self._ends = True

    def _is_plain(self) -> bool:
        """Return whether the request is a POST, and no other answer of this connection is pending."""
        # uvicorn closes after HTTP/1.0, but with keep-alive, the parser goes on to what was sent behind it.
        return (
            self.parser.get_method() == b"POST"
            and not self._port.is_admin
            and not (self.parser.get_http_version() == "1.0" and self.parser.should_keep_alive())
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._service.stopping:
            cycle.keep_alive = False  # the client must not send its next request here
        super()._start_asgi_task(cycle, app)

    def _on_let_go(self, _: asyncio.Future[None]) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _watch_reading(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()

        def check() -> None:
            if self.transport.get_write_buffer_size() == unread_bytes:
                self.transport.abort()
            else:
                self._watch_reading()

        self._unread = self.loop.call_later(UNREAD_S, check)

    def _watch_no_more(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
