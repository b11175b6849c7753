"""Check whether IP addresses are public, and look up the IP addresses of hosts in threads."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Resolver = Callable[[str], Sequence[str]]
"""A function that returns all addresses of a host name; it blocks, and raises OSError if there are none."""

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")  # of IPv6, only these addresses are given to hosts in the internet
# What `is_global` of the supported Pythons does not say, or not all of them alike.
_NOT_PUBLIC = (
    IPv4Network("192.0.0.0/24"),  # protocols
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # the metadata service of a cloud, at an address like any other
    IPv6Network("2001::/23"),  # protocols, among them Teredo, which embeds an IPv4 address
    IPv6Network("2002::/16"),  # 6to4, which embeds an IPv4 address
    IPv6Network("3fff::/20"),  # documentation
)


def is_public(address: Address) -> bool:
    """Return whether an IP address belongs to one host in the public internet.

    The result is False for the addresses of this machine, of private and shared networks and of benchmarks,
    and for multicast addresses. Some IPv6 addresses contain an IPv4 address, for a translator or as a
    mapping; they are judged by this IPv4 address.
    """
    if isinstance(address, IPv6Address):
        carried = address.ipv4_mapped
        if address in _NAT64:
            carried = IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(carried)
        if address not in _UNICAST:
            return False
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


def resolve(host: str) -> list[str]:
    """Return the addresses that the system finds for a host name; this call blocks."""
    # As bytes: Python refuses some names itself, with an error of another kind.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Lookups:
    """A limited number of concurrent lookups of host names, each in a thread of its own.

    A lookup cannot be interrupted. If one hangs, it occupies its thread and counts towards the limit until it
    ends. But its caller can stop waiting, other work has other threads, and the process can still end.
    """

    def __init__(self, at_once: int, resolver: Resolver) -> None:
        """Allow `at_once` lookups at the same time."""
        self._resolver = resolver
        self._free = asyncio.Semaphore(at_once)

    async def addresses(self, host: str) -> list[Address]:
        """Return the addresses of a host in the order in which the lookup found them, without duplicates.

        Raises:
            OSError: the host has no addresses, or the lookup failed.
            RuntimeError: no thread could be started for the lookup.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()

        def end(error: OSError | None, texts: Sequence[str]) -> None:
            self._free.release()
            if found.done():  # the caller has stopped waiting
                return
            if error is None:
                found.set_result(texts)
            else:
                found.set_exception(error)

        def look_up() -> None:
            error, texts = None, list[str]()
            try:
                texts = list(self._resolver(host))
            except (OSError, ValueError, RuntimeError, MemoryError) as raised:  # `end` must run in every case
                error = raised if isinstance(raised, OSError) else OSError(repr(raised))
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end, error, texts)

        try:
            threading.Thread(target=look_up, name="lookup", daemon=True).start()
        except BaseException:
            self._free.release()
            raise
        return list(dict.fromkeys(map(ip_address, await found)))
