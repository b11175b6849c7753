"""Accept connections, and complete their TLS handshakes within a time limit before requests are read.

The event loop's own servers do not report handshakes that failed or are still running. Without this module,
the log would have no line for a caller whose certificate is not accepted, and connections in a handshake
would have no limit.
"""

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Callable
from time import monotonic

from service.metrics import Metrics

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0  # how long a handshake may take
_CLOSE_S = 5.0  # how long a client may take to say that it has seen the end of the connection
_LOG_EVERY_S = 0.1  # the next line says how many failures were left out in between
_NO_ROOM_S = 0.1  # pause if the system cannot accept a further connection


class Handshakes:
    """The connections of one port whose TLS handshake is running."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext],
        is_full: Callable[[], bool],
        metrics: Metrics,
    ) -> None:
        """Prepare to accept connections, and to hand them over after the handshake.

        Args:
            make: creates the asyncio protocol for an encrypted connection.
            context: returns the current SSL context.
            is_full: returns whether the limit on connections is reached.
            metrics: counts the connections that are refused.
        """
        self._make = make
        self._context = context
        self._is_full = is_full
        self._metrics = metrics
        self.running: set[asyncio.Task[None]] = set()
        self._failure_logged, self._failures_omitted = -math.inf, 0

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until this task is cancelled; then cancel the running handshakes, too."""
        loop = asyncio.get_running_loop()
        is_logged = False
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(listener)
                except OSError as error:  # too many open files, for example
                    if not is_logged:
                        log.warning("connection_not_accepted", extra={"why": str(error)})
                    is_logged = True
                    await asyncio.sleep(_NO_ROOM_S)
                    continue
                is_logged = False
                if self._is_full():
                    self._metrics.connection_refused("too-many")
                    connection.close()
                    continue
                task = loop.create_task(self._encrypt(connection, address[0]))
                self.running.add(task)
                task.add_done_callback(self.running.discard)
        finally:
            for task in self.running:
                task.cancel()

    async def _encrypt(self, connection: socket.socket, client: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        except OSError as error:
            self._fail(client, error)

    def _fail(self, client: str, error: OSError) -> None:
        self._metrics.connection_refused("tls")
        now = monotonic()
        if now - self._failure_logged < _LOG_EVERY_S:
            self._failures_omitted += 1
            return
        self._failure_logged = now
        omitted, self._failures_omitted = self._failures_omitted, 0
        log.info("handshake_failed", extra={"client": client, "why": _why(error), "omitted": omitted})


def _why(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the client's certificate: {error.verify_message}"
        case ssl.SSLError(reason="HTTP_REQUEST"):
            return "the client does not encrypt; it must ask for https://"
        case ssl.SSLError(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            return "the client has no certificate"
        case ssl.SSLError(reason=str(reason)):
            return reason.lower().replace("_", " ")
        case ConnectionAbortedError():
            return f"it took longer than {HANDSHAKE_S:g} s"
        case _:
            return "the client left"
