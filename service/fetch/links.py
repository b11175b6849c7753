"""Read a URL that a caller sent, and check it against the operator's list of hosts."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv6Address

import httpx

from service.errors import FetchRefused

_LONGEST = 4096  # signed URLs of object stores have about 2000 characters
_HTTPS_PORT = 443
_NEVER = re.compile(r"[\x00-\x20\x7f\\]")  # other programs read them in other ways, or drop them
_USER = re.compile(r"[^/?#]*//[^/?#]*@")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


@dataclass(frozen=True)
class Link:
    """The host, port and target of a checked URL; the fetcher uses no other part of the URL."""

    host: str  # a name in lower case, without a dot at the end; or an address
    port: int
    target: bytes  # path and query, as they are sent; may hold a signature, so it is in no log

    @property
    def place(self) -> str:
        """Return host and port in the form `host:port`, as in the operator's list."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_link(text: str, hosts: Collection[str]) -> Link:
    """Check that a URL may be fetched, and return its parts.

    Args:
        text: the URL.
        hosts: allowed hosts, as `host:port`, or as `*.host:port` for all subdomains of a host.

    Raises:
        FetchRefused: the URL is not a plain https URL, or its host is not in the list.
    """
    if len(text) > _LONGEST:
        raise FetchRefused(f"the URL has over {_LONGEST} characters; send a shorter one")
    if _NEVER.search(text):
        raise FetchRefused(
            "the URL has a space, a backslash or a control character; write it as %20, for one"
        )
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise FetchRefused("this is not a URL; send one such as https://images.example.org/a.jpg") from error
    if url.scheme != "https":
        raise FetchRefused("only https:// is fetched; send such a URL, or the file's bytes")
    if _USER.match(text):
        raise FetchRefused("the URL has a user name or an @ before its host; send it without")
    host = url.raw_host.decode("ascii").removesuffix(".")
    if ":" in host:
        host = str(IPv6Address(host))
    elif not _NAME.fullmatch(host):
        raise FetchRefused("the URL has no host name; send one such as https://images.example.org/a.jpg")
    port = _HTTPS_PORT if url.port is None else url.port
    link = Link(host, port, url.raw_path)
    if not any(_is_covered(link.place, entry) for entry in hosts):
        raise FetchRefused(
            f"images of {link.place[:80]} are not fetched here; send the file's bytes, or ask the operator to"
            " list the host in SPARSIGHT_FETCH__HOSTS"
        )
    return link


def _is_covered(place: str, entry: str) -> bool:
    if entry.startswith("*."):
        return place.endswith(entry[1:]) and len(place) > len(entry) - 1
    return place == entry
