"""Run the uvicorn servers: one for callers and, if there is an admin port, one for the operator."""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from types import FrameType
from typing import Literal, cast

import uvicorn
from fastapi import FastAPI

from service.access.gate import Gate
from service.descriptors import OF_ADMIN
from service.errors import ServiceError
from service.server.certificates import Certificates
from service.server.guarded import Port
from service.server.handshake import Handshakes
from service.server.protocol import DoorProtocol
from service.serving.detect import DetectService
from service.settings import Settings

# Longer than the 60 s of common load balancers. So the balancer closes an idle connection, not the gateway,
# and no request is sent on a connection that is just being closed.
KEEP_ALIVE_S = 75
_ADMIN_DRAIN_S = 2  # how long the last answers on the admin port may take


def server_of(
    app: FastAPI, settings: Settings, max_connections: int, admin_listener: socket.socket | None
) -> "MainServer":
    """Return the server of the main port; this server also runs one for `admin_listener`.

    Raises:
        SettingsInvalid: a certificate file cannot be used.
    """
    service: DetectService = app.state.service
    certificates = None if settings.tls.cert is None else Certificates(settings.tls, service.metrics)

    def config(port: Port, lifespan: Literal["on", "off"], drain_s: int) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", partial(DoorProtocol, port=port)),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            proxy_headers=False,  # otherwise, callers on this machine could choose the address in the log
            lifespan=lifespan,
            timeout_graceful_shutdown=drain_s,
        )

    beside = None
    if admin_listener is not None:
        port = Port(is_admin=True, max_connections=OF_ADMIN)
        beside = AdminServer(config(port, "off", _ADMIN_DRAIN_S), port, certificates), admin_listener
    port = Port(max_connections=max_connections)
    return MainServer(config(port, "on", settings.shutdown_timeout_s), port, certificates, beside)


class PortServer(uvicorn.Server):
    """A uvicorn server of one port, with limits on connections, and with TLS if there are certificates."""

    def __init__(self, config: uvicorn.Config, port: Port, certificates: Certificates | None) -> None:
        """Prepare to serve the app of `config` on the sockets that `startup` receives."""
        super().__init__(config)
        self._port = port
        self._certificates = certificates
        self._handshakes: Handshakes | None = None
        self._accepting: list[asyncio.Task[None]] = []
        self.listens = asyncio.Event()

    @property
    def service(self) -> DetectService:
        """Return the service behind the app."""
        return cast("DetectService", cast("FastAPI", self.config.app).state.service)

    def open_connections(self) -> int:
        """Return the number of open connections, including those whose TLS handshake is running."""
        shaking = 0 if self._handshakes is None else len(self._handshakes.running)
        return len(self.server_state.connections) + shaking

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, then listen on the sockets."""
        if self._certificates is None:
            await super().startup(sockets)
        else:
            await super().startup(sockets=[])
            for listener in sockets or ():
                listener.setblocking(False)
                listener.listen(self.config.backlog)
                self._accept_encrypted(listener, self._certificates)
        self.listens.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and answer the requests in flight."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    def _accept_encrypted(self, listener: socket.socket, certificates: Certificates) -> None:
        port = self._port

        def make() -> asyncio.Protocol:
            return DoorProtocol(self.config, self.server_state, self.lifespan.state, port=port)

        def is_full() -> bool:
            return port.max_connections is not None and self.open_connections() >= port.max_connections

        def context() -> ssl.SSLContext:
            return certificates.pair.of_operator if port.is_admin else certificates.pair.of_callers

        self._handshakes = Handshakes(make, context, is_full, self.service.metrics)
        self._accepting.append(asyncio.create_task(self._handshakes.accept(listener)))


class AdminServer(PortServer):
    """The server of the admin port; the main server starts and ends it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no signal handlers, because the main server handles the signals."""
        yield


class MainServer(PortServer):
    """The server of the main port, which makes /readyz answer 503 as soon as a signal to stop arrives."""

    def __init__(
        self,
        config: uvicorn.Config,
        port: Port,
        certificates: Certificates | None,
        beside: tuple[AdminServer, socket.socket] | None = None,
    ) -> None:
        """Prepare to serve the app of `config`, and to run the admin port's server `beside` it."""
        super().__init__(config, port, certificates)
        self._beside = beside
        self._admin: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._delay_s = 0.0  # how long new requests are still taken
        self.service.metrics.count_connections(self.open_connections)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, because a signal has arrived."""
        self.service.stopping = True
        self._delay_s = self.service.settings.shutdown_delay_s if sig == signal.SIGTERM else 0.0
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, listen on the ports, and follow changes of the certificate files."""
        await super().startup(sockets)
        if self._certificates is not None:
            self._following = asyncio.create_task(self._certificates.follow())
        if self._beside is not None:
            admin, listener = self._beside
            self._admin = asyncio.create_task(admin.serve(sockets=[listener]))
            listens = asyncio.create_task(admin.listens.wait())
            await asyncio.wait((self._admin, listens), return_when=asyncio.FIRST_COMPLETED)
            if self._admin.done():  # for example because it cannot listen
                listens.cancel()
                await self._admin

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept new requests for the configured time, then answer the requests in flight.

        The admin port answers until the requests in flight have been answered.
        """
        end_s = monotonic() + self._delay_s
        while monotonic() < end_s and self._delay_s:  # Ctrl-C sets it to 0
            await asyncio.sleep(0.1)
        await super().shutdown(sockets)
        if self._beside is not None:
            self._beside[0].should_exit = True
        if self._admin is not None:
            await self._admin
        if self._following is not None:
            self._following.cancel()

    def reload_on_sighup(self, tell: Callable[[str], None]) -> None:
        """Install a handler for SIGHUP that loads new models, keys and certificates.

        A terminal that is closed also sends SIGHUP. If the terminal of the service was closed, the handler
        therefore ends the service. The caller must call this method inside a running event loop.
        """
        gate: Gate = cast("FastAPI", self.config.app).state.gate
        has_terminal = os.isatty(0)
        running: set[asyncio.Task[None]] = set()  # the loop itself does not keep tasks alive

        async def reload() -> None:
            if self._certificates is not None:
                await self._certificates.renew()
            await gate.read_again()
            try:
                changes = await self.service.reload()
                tell(f"loaded: {changes.loaded or 'nothing'}; removed: {changes.removed or 'nothing'}")
            except ServiceError as error:
                tell(str(error))

        def on_sighup() -> None:
            if has_terminal and not os.isatty(0):
                self.service.stopping = self.should_exit = True
                return
            task = asyncio.create_task(reload())
            running.add(task)
            task.add_done_callback(running.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_sighup)
