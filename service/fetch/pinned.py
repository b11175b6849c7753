"""Connect only to those addresses of a host that have been checked."""

from collections.abc import Iterable, Sequence

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from service.fetch.addresses import Address

_MOST = 3  # addresses that are tried


class PinnedBackend(AsyncNetworkBackend):
    """A network backend for httpcore that connects to checked addresses, and looks up no host name.

    TLS still uses the name of the host: it sends the name, and checks the certificate against it.
    """

    def __init__(self, addresses: Sequence[Address], timeout_s: float) -> None:
        """Prepare to connect to the first of `addresses` that answers, with `timeout_s` for all attempts."""
        self._addresses = addresses[:_MOST]
        self._timeout_s = timeout_s / len(self._addresses)
        self._network = httpcore.AnyIOBackend()
        self._stream: AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Return a connection to one of the checked addresses; ignore `host`."""
        failure: Exception | None = None
        for address in self._addresses:
            try:
                self._stream = await self._network.connect_tcp(str(address), port, self._timeout_s)
                return self._stream
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def close(self) -> None:
        """Close the connection, even if the TLS handshake was not complete."""
        if self._stream is not None:
            await self._stream.aclose()
