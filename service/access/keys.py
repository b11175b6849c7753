"""Define API keys, and read the file that lists them.

The file holds the SHA-256 of each key, not the key. A slow hash, as for passwords, would protect nothing: a
key has 256 random bits, so nobody can guess it, however fast one guess is. A slow hash would also cost time
for every request, even for one with a wrong key, and would so make floods of requests more harmful.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from service.access.table import Scope
from service.errors import AccessFileInvalid

_PREFIX = "sparsight_"  # so that a key in a log or a repository is recognised, by people and by scanners
_RANDOM_BYTES = 32
_LARGEST_BYTES, _MOST_KEYS = 1_000_000, 500
_ID_DIGITS = 8
OTHERS = ("admin-token", "token")
"""Names of callers that are not in the file; a key cannot have these names."""


def _not_taken(name: str) -> str:
    if name in OTHERS:
        raise ValueError(f"{name} is the name of other callers; choose another")
    return name


def _with_zone(time: datetime | None) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise ValueError("write a time with its zone, as in 2027-01-31T00:00:00Z")
    try:
        return None if time is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is not between the years 1 and 9999 (UTC)") from None


_Time = Annotated[datetime | None, AfterValidator(_with_zone)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"), AfterValidator(_not_taken)]
"""Name of a key: lower-case letters, digits and . _ -; the metrics use it as a label."""


class Key(BaseModel, extra="forbid", frozen=True):
    """An entry of the file: the hash and the limits of an API key, without the key itself."""

    name: Name
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    rate: Annotated[int | None, Field(ge=1, le=10_000)] = None
    """Most requests in any second; None for no limit."""
    quota: Annotated[int | None, Field(ge=1)] = None
    """Most requests on one day in UTC; None for no limit."""
    created: _Time = None
    expires: _Time = None
    revoked: _Time = None

    @property
    def id(self) -> str:
        """Return a short id, which distinguishes keys that have the same name."""
        return self.sha256[:_ID_DIGITS]


class _File(BaseModel, extra="forbid"):
    keys: Annotated[list[Key], Field(max_length=_MOST_KEYS)]


def new_key() -> str:
    """Return a new random key."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(key: bytes) -> str:
    """Return the hash of a key, in the form in which the file holds it."""
    return hashlib.sha256(key).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """Return the keys that a file lists.

    Raises:
        AccessFileInvalid: the file is missing, or does not hold keys.
    """
    try:
        keys = _File.model_validate_json(read_file(path)).keys
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg']}"
        if not where:
            why = f"{first['msg']}; `python -m service keys new` makes it"
        raise AccessFileInvalid(f"{path} cannot be used: {why}") from None
    if len({key.sha256 for key in keys}) < len(keys):
        raise AccessFileInvalid(f"{path} cannot be used: it lists a key twice")
    return keys


def read_file(path: Path) -> bytes:
    """Return the bytes of a file of moderate size.

    Raises:
        AccessFileInvalid: the file cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise AccessFileInvalid(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > _LARGEST_BYTES:
        raise AccessFileInvalid(f"{path} cannot be used: it has more than {_LARGEST_BYTES:,} bytes")
    return data


def as_text(keys: list[Key]) -> str:
    """Return the text of a file that lists `keys`."""
    listed: list[Mapping[str, object]] = [key.model_dump(mode="json", exclude_none=True) for key in keys]
    return json.dumps({"keys": listed}, indent=1) + "\n"
