"""Check whether a request's caller may use its path, and follow changes of the files with keys."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.access.allowance import Allowance
from service.access.audit import Audit
from service.access.keys import OTHERS, Key, hash_of, read_keys
from service.access.table import Place, Scope, rule_on
from service.access_errors import Forbidden, Unauthorized
from service.errors import AccessFileInvalid
from service.metrics import Metrics
from service.settings import Settings

if TYPE_CHECKING:
    from service.access.tokens import Tokens

log = logging.getLogger(__name__)

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers of a request, with names in lower case."""

_LOOK_EVERY_S = 1.0
_LONGEST = 8192  # bytes of a key or token; longer ones are refused unread
_OF_ADMIN, _OF_TOKENS = OTHERS
_SEND = "send your key, as in: Authorization: Bearer KEY"
_BEARER = "the header Authorization does not begin with Bearer; write: Authorization: Bearer KEY"


@dataclass(frozen=True)
class Caller:
    """The sender of a request, known by the key or token in the request."""

    name: str
    """Name of the key; the log and the metrics show it."""
    scopes: frozenset[Scope]
    id: str = ""
    """Id of the key, or subject of the token; the log shows it."""
    allowance: Allowance | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return the name and the id."""
        return self.name, self.id


@dataclass
class _Listed:
    key: Key
    caller: Caller


@dataclass
class _Watched:
    """A file that the service reads again when it has changed."""

    name: str
    path: Path
    read: Callable[[], Any]
    use: Callable[[Any], None]
    seen: tuple[int, ...] = field(default=())

    def state(self) -> tuple[int, ...]:
        """Return values that change when somebody writes the file or puts another file in its place."""
        with suppress(OSError):
            found = os.stat(self.path)  # noqa: PTH116  # of the file that a link leads to
            # The time of change too: nobody can set it back, and it tells of permissions that were given.
            return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
        return ()


class Gate:
    """The check of every request against the keys and their scopes."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Read the files that the settings name; if they name none, `is_on` is False and nothing is checked.

        Raises:
            AccessFileInvalid: a file cannot be used.
        """
        access, self._metrics = settings.access, metrics
        self.is_on = access.is_on
        self.audit = Audit(access.audit_file, metrics)
        self._admin_token = settings.admin_token
        self._keys: dict[str, _Listed] = {}
        self._tokens: Tokens | None = None
        self._access = access
        self._reading = asyncio.Lock()  # one reading at a time, so that the newest content wins
        self._files = [
            _Watched(name, path, read, use)
            for name, path, read, use in (
                ("keys", access.keys_file, self._read_keys, self._use_keys),
                ("jwks", access.jwks_file, self._read_tokens, self._use_tokens),
            )
            if path is not None
        ]
        if self.is_on:
            self._use_keys([])
            for watched in self._files:
                watched.seen = watched.state()
                watched.use(watched.read())
                metrics.set_access_file_broken(watched.name, False)

    # ---- requests ----------------------------------------------------------------------------

    def check(self, path: str, headers: RawHeaders, port: Place = "both") -> Caller | None:
        """Return the caller, if it may use the path; None if the path is open to everybody.

        If there are two ports, a path that belongs to the other port is treated like a path that does not
        exist.

        Args:
            path: path of the request.
            headers: headers of the request, with names in lower case.
            port: port on which the request came; `both` if the service has only one port.

        Raises:
            Unauthorized: the request has no valid key.
            Forbidden: the scopes of its key do not allow the use of this path.
        """
        route, rule = rule_on(port, path)
        if rule.need == "open":
            return None
        caller = self.identify(headers)
        if rule.need not in caller.scopes and "admin" not in caller.scopes:
            raise Forbidden(route, rule.need, caller.key)
        return caller

    def identify(self, headers: RawHeaders) -> Caller:
        """Return who sent a request with these headers.

        Raises:
            Unauthorized: the request has no valid key.
        """
        sent = _key_in(headers)
        # The lookup may take longer for some hashes than for others. That tells nobody anything about a
        # key: to come closer to a known hash, one would need a key for it.
        listed = self._keys.get(hash_of(sent))
        if listed is None:
            if self._tokens is not None and sent.count(b".") == 2:  # keys have no dots
                token = self._tokens.check(sent)
                return Caller(_OF_TOKENS, token.scopes, token.subject)
            raise Unauthorized("this key is not known here; check that you sent the whole key", "unknown")
        key = listed.key
        if key.revoked is not None:
            raise Unauthorized(
                "this key was revoked; ask the operator for a new one", "revoked", listed.caller.key
            )
        if key.expires is not None and key.expires <= datetime.now(UTC):
            raise Unauthorized(
                "this key has expired; ask the operator for a new one", "expired", listed.caller.key
            )
        return listed.caller

    # ---- files -------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Read the files again whenever they have changed, until this task is cancelled."""
        while self._files:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.read_again(only_changed=True)
            except Exception:
                log.exception("access_watch_failed")

    async def read_again(self, *, only_changed: bool = False) -> None:
        """Read the files again; if one cannot be used, keep what it said before."""
        async with self._reading:
            for watched in self._files:
                await self._read_one(watched, only_changed=only_changed)

    async def _read_one(self, watched: _Watched, *, only_changed: bool) -> None:
        state = await asyncio.to_thread(watched.state)  # in a thread: a network drive may hang
        if only_changed and state == watched.seen:
            return
        try:
            watched.use(await asyncio.to_thread(watched.read))
        except AccessFileInvalid as error:
            log.error("access_file_broken", extra={"why": str(error), "kept": "what it said before"})
            self._metrics.set_access_file_broken(watched.name, True)
        else:
            self._metrics.set_access_file_broken(watched.name, False)
            self.audit.changed({"file": str(watched.path), "keys": sorted(self._names())})
        watched.seen = state  # only now: after an unexpected error, the file is read again

    def _read_keys(self) -> list[Key]:
        assert self._access.keys_file is not None
        return read_keys(self._access.keys_file)

    def _read_tokens(self) -> "Tokens":
        from service.access.tokens import Tokens  # only if needed: it imports cryptography

        access = self._access
        assert access.jwks_file is not None
        assert access.jwt_issuer is not None
        assert access.jwt_audience is not None
        return Tokens(access.jwks_file, access.jwt_issuer, access.jwt_audience)

    def _use_tokens(self, tokens: "Tokens") -> None:
        self._tokens = tokens

    def _use_keys(self, keys: list[Key]) -> None:
        known = {key.sha256: _Listed(key, self._caller_of(key)) for key in keys}
        if self._admin_token is not None:
            # No random key, but what the operator chose: as safe as it was, and compared by its hash like
            # the others.
            sha256 = hash_of(self._admin_token.get_secret_value().encode())
            key = Key.model_construct(name=_OF_ADMIN, sha256=sha256, scopes=("admin",))
            known[sha256] = _Listed(key, Caller(_OF_ADMIN, frozenset({"admin"})))
        self._keys = known  # at once: a request sees the old keys or the new ones, never a part
        self._metrics.declare_callers(self._names())

    def _caller_of(self, key: Key) -> Caller:
        if key.rate is None and key.quota is None:
            return Caller(key.name, frozenset(key.scopes), key.id)
        old = self._keys.get(key.sha256)
        allowance = (old and old.caller.allowance) or Allowance(key)
        allowance.follow(key)  # requests counted so far still count
        return Caller(key.name, frozenset(key.scopes), key.id, allowance)

    def _names(self) -> set[str]:
        others = {_OF_TOKENS} if self._access.jwks_file is not None else set()
        return {listed.key.name for listed in self._keys.values()} | others


def _key_in(headers: RawHeaders) -> bytes:
    found, how = [], _SEND
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                found.append(rest.strip())
            else:
                how = _BEARER
        elif name == b"x-api-key":
            found.append(value.strip())
    if not found:
        raise Unauthorized(how, "missing")
    if len(found) > 1:  # another program may take the other key for the valid one
        raise Unauthorized("send one key, in one header", "unclear")
    if not found[0] or len(found[0]) > _LONGEST:
        raise Unauthorized(_SEND, "unknown")
    return found[0]
