"""Downloads one file over HTTP: resumes a partial download, and retries when a connection breaks."""

import errno
import json
import logging
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from tqdm import tqdm

from training.download.catalogue import Archive
from training.errors import DownloadError
from training.files import write_atomically
from training.progress import bar

CHUNK = 1 << 16  # bytes
REDIRECTIONS = 5  # most redirections that are followed
WAITABLE = (408, 425, 429)  # after these statuses and 500 or above, the same request may succeed later

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to retry: the most attempts in a row without a byte, the waits between them, and timeouts."""

    attempts: int = 6  # most attempts in a row that receive no byte
    first_wait_s: float = 1.0  # doubled after each failure
    longest_wait_s: float = 60.0
    connect_s: float = 15.0
    read_s: float = 60.0  # longest time without a byte

    def wait_s(self, failures: int) -> float:
        """Return the seconds to wait before the next attempt, after `failures` attempts without a byte."""
        return float(min(self.first_wait_s * 2 ** max(failures - 1, 0), self.longest_wait_s))


USUAL_PATIENCE = Patience()


class _Passing(Exception):
    """A failure whose cause may soon pass, such as a broken connection; `fetch` tries the request again."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s  # how long the server asks to wait


class _Origin(NamedTuple):
    """The origin of a partial file. A download continues the file only if it comes from the same origin.

    The origin is stored in a file beside the partial file.
    """

    url: str = ""
    validator: str | None = None  # a strong ETag or a date, for If-Range
    total: int | None = None  # bytes


def fetch(url: str, partial: Path, archive: Archive, *, patience: Patience = USUAL_PATIENCE) -> None:
    """Download a URL into the file `partial`; if the file already has the first bytes, request the rest.

    After Ctrl-C, a crash or an error, the file keeps the bytes received so far, and the next call continues.

    Raises:
        DownloadError: the server refuses, does not answer or sends another file than `archive`, or the disk
            is full.
    """
    _require_address(url)
    failures = 0
    with _client(url, patience) as client, bar(archive.exact_size, "B", partial.stem) as progress:
        while True:
            before = length(partial)
            try:
                _go_on(client, url, partial, archive, progress)
                return
            except _Passing as error:
                failures = 0 if length(partial) > before else failures + 1
                if failures >= patience.attempts:
                    raise DownloadError(
                        f"gave up after {failures} attempts without a byte: {error}. Is the network there? "
                        "Does it need a proxy (HTTPS_PROXY)? The same command resumes; --from names a mirror"
                    ) from error
                wait_s = min(error.wait_s or patience.wait_s(failures), patience.longest_wait_s)
                log.info(f"{error}; going on in {wait_s:.0f} s")
                time.sleep(wait_s)


def _require_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # invalid brackets or port
        fine = False
    if not fine:
        raise DownloadError(f"{url}: not an address that begins with http:// or https://")


def length(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    return path.stat().st_size if path.is_file() else 0


def forget(partial: Path) -> None:
    """Remove a partial file and the record of its origin."""
    partial.unlink(missing_ok=True)  # first: a file without its origin is harmless, the reverse is not
    _origin_path(partial).unlink(missing_ok=True)


def _client(url: str, patience: Patience) -> httpx.Client:
    """Return an HTTP client with the environment's proxies and the system's certificates."""
    try:
        return httpx.Client(
            headers={"Accept-Encoding": "identity", "User-Agent": "sparsight"},
            timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
            follow_redirects=True,
            max_redirects=REDIRECTIONS,
            verify=ssl.create_default_context(),
        )
    except (ImportError, ValueError) as error:  # ImportError: the kind of proxy needs another package
        scheme = urlsplit(url).scheme
        raise DownloadError(f"the environment's proxy for {scheme} does not work: {error}") from error


def _go_on(client: httpx.Client, url: str, partial: Path, archive: Archive, progress: tqdm) -> None:
    """Request the missing bytes once and append them; raise _Passing if the file is still incomplete."""
    offset, origin = _held(partial, url, archive)
    if offset and offset == archive.exact_size:
        return
    headers = {}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if origin.validator:
            headers["If-Range"] = origin.validator
    with _ours(url), client.stream("GET", url, headers=headers) as response:
        _refuse_errors(url, response)
        if response.status_code == 416 and _total(response) == offset:
            return  # the file is already complete
        if response.status_code == 200:
            offset = 0
        else:
            _check_continues(response, offset, origin, partial)
        total = _total(response)
        _check_size(url, total, archive)
        if offset == 0:
            forget(partial)
            # A weak ETag does not guarantee identical bytes (RFC 9110, 13.1.5).
            etag = response.headers.get("ETag", "")
            validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
            write_atomically(_origin_path(partial), json.dumps(_Origin(url, validator, total)._asdict()))
        progress.total = total
        progress.n = progress.last_print_n = progress.initial = offset  # earlier bytes do not count as speed
        _append(response, url, partial, offset, archive, progress)


def _held(partial: Path, url: str, archive: Archive) -> tuple[int, _Origin]:
    """Return how many bytes of the partial file can be kept, and the record of the file's origin.

    Remove the partial file and return 0 if the file is too long, or if nothing could prove that its bytes
    and the missing bytes are from the same file.
    """
    offset = length(partial)
    try:
        origin = _Origin(**json.loads(_origin_path(partial).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # no usable record
        origin = _Origin()
    if origin.url != url:
        origin = _Origin(url)
    # If a checksum follows, parts may be joined without proof that they are from the same file.
    provable = archive.sha256 is not None or origin.validator is not None
    if offset and (not provable or offset > archive.largest_size):
        forget(partial)
        return 0, origin
    return offset, origin


def _refuse_errors(url: str, response: httpx.Response) -> None:
    passed = (each.url.scheme for each in (*response.history, response))
    if url.startswith("https:") and "http" in passed:
        raise DownloadError(
            f"{url}: the server leads to an address without encryption; name a mirror with --from"
        )
    status = response.status_code
    if status in (200, 206, 416):
        return
    if status >= 500 or status in WAITABLE:
        asked = response.headers.get("Retry-After", "")
        raise _Passing(f"{url}: the server says {status}", float(asked) if asked.isdigit() else None)
    if status in (404, 410):
        raise DownloadError(f"{url}: not there ({status}); it may have moved: name a mirror with --from")
    raise DownloadError(f"{url}: the server says {status}; name a mirror with --from")


def _check_continues(response: httpx.Response, offset: int, origin: _Origin, partial: Path) -> None:
    """Check that the response starts where the partial file ends, and that the whole file's size is the same.

    Raises:
        _Passing: the response does not continue the partial file. That file has been removed, so the next
            attempt starts from the first byte.
    """
    found = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    changed = origin.total is not None and _total(response) not in (origin.total, None)
    if found is None or int(found[1]) != offset or changed:
        forget(partial)
        raise _Passing("the server went on with something else: starting anew")


def _total(response: httpx.Response) -> int | None:
    """Return the size of the whole file in bytes; None if the response does not state it."""
    if response.status_code in (206, 416):
        found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdigit() else None


def _check_size(url: str, total: int | None, archive: Archive) -> None:
    if total is not None and not (archive.exact_size or 0) <= total <= archive.largest_size:
        most = "" if archive.sha256 else "at most "
        raise DownloadError(
            f"{url}: offers {total:,} bytes where {most}{archive.largest_size:,} are expected: another file"
        )


def _append(
    response: httpx.Response, url: str, partial: Path, offset: int, archive: Archive, progress: tqdm
) -> None:
    try:
        with partial.open("ab") as file:
            for chunk in response.iter_raw():  # as received, so that a broken connection loses none
                offset += len(chunk)
                if offset > archive.largest_size:
                    raise DownloadError(
                        f"{url}: does not end after {archive.largest_size:,} bytes; it is another file"
                    )
                file.write(chunk)
                progress.update(len(chunk))
    except OSError as error:  # from the disk; network errors are httpx's
        raise full_disk(error, partial) from error
    if archive.exact_size is not None and offset < archive.exact_size:
        raise _Passing(f"{url}: ended after {offset:,} of {archive.exact_size:,} bytes")


def full_disk(error: OSError, path: Path) -> Exception:
    """Return a DownloadError with advice if `error` says that the disk is full; return `error` otherwise."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    return DownloadError(
        f"{path}: no space for more ({error.strerror}); free some, and the same command resumes"
    )


@contextmanager
def _ours(url: str) -> Iterator[None]:
    """Turn an httpx error into _Passing if a retry may help, or into DownloadError if the user must act."""
    try:
        yield
    except httpx.TooManyRedirects as error:
        raise DownloadError(f"{url}: too many redirects; name a mirror with --from") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise DownloadError(f"{url}: {error}") from error
    except httpx.ReadTimeout as error:
        raise _Passing(f"{url}: silent for too long") from error
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:  # their messages do not help users
        raise _Passing(f"{url}: the connection broke") from error
    except httpx.HTTPError as error:
        if isinstance(error, httpx.ConnectError) and isinstance(_first_cause(error), ssl.SSLError):
            raise DownloadError(f"{url}: no connection that can be trusted: {error}") from error
        raise _Passing(f"{url}: {error}") from error


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error


def _origin_path(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")
