"""Connect to the checked addresses of a host, and to nothing else."""

from collections.abc import Iterable, Sequence

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from service.fetch.addresses import Address

_MOST = 3  # addresses that are tried


class PinnedBackend(AsyncNetworkBackend):
    """httpcore's network, in which a host has the addresses that were checked, and no name is looked up.

    The host's name stays that of the connection otherwise: TLS sends it, and checks the certificate for it.
    """

    def __init__(self, addresses: Sequence[Address], timeout_s: float) -> None:
        """Connect to the first of `addresses` that answers, all within `timeout_s`."""
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
        """Return a connection to one of the addresses, whatever `host` is."""
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
        """Close the connection, also when it was given up before TLS was ready."""
        if self._stream is not None:
            await self._stream.aclose()
