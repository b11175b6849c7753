"""Make, list and revoke API keys from a shell: `python -m service keys`."""

import argparse
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from service.access.keys import Key, as_text, hash_of, new_key, read_keys
from service.access.table import SCOPES
from service.errors import AccessFileInvalid

_NAMES = "up to 64 of a-z, 0-9 and . _ -, beginning with a letter or digit"
_EXAMPLES = """
examples:
  python -m service keys new --file keys/keys.json --name line-3 --scope detect --rate 10 --quota 100000
      prints the key, once; the file keeps only its hash
  python -m service keys new --file keys/keys.json --name line-3 --scope detect --expires 30d
      a second key of the same name: give it to the caller, then revoke the old one
  python -m service keys list --file keys/keys.json
  python -m service keys revoke --file keys/keys.json 5f3a09c1
      by the id that `list` shows
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `keys` to a parser."""
    parser = commands.add_parser(
        "keys",
        help="make, list and revoke API keys",
        description="Make, list and revoke API keys. A running gateway notices a change within two seconds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    new = verbs.add_parser("new", help="make a key and print it, once")
    _add_file(new)
    new.add_argument("--name", required=True, help=f"name for logs and metrics: {_NAMES}")
    new.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=SCOPES,
        help="what the key is for; may be given several times; admin includes the others",
    )
    new.add_argument("--rate", type=int, help="most requests in any second (default: no limit)")
    new.add_argument("--quota", type=int, help="most requests on a day, UTC (default: no limit)")
    new.add_argument(
        "--expires",
        type=_time,
        metavar="TIME",
        help="as 2027-01-31, 2027-01-31T12:00:00Z or 90d (default: never)",
    )
    listed = verbs.add_parser("list", help="show the keys, without the keys themselves")
    _add_file(listed)
    revoke = verbs.add_parser("revoke", help="let a key in no more")
    _add_file(revoke)
    revoke.add_argument("id", help="id of the key, which `list` shows")


def run_command(args: argparse.Namespace, say: Callable[[str], None]) -> str:
    """Run a command; return its output, and pass sentences that only people need to `say`.

    Raises:
        AccessFileInvalid: the file cannot be used, or what is asked for cannot be done.
        OSError: the file cannot be written.
    """
    path: Path = args.file
    match args.verb:
        case "new":
            return _new(path, args, say)
        case "revoke":
            with _changing(path) as keys:
                _revoke(path, keys, args.id, say)
            return ""
        case _:
            return _table(read_keys(path))


def _new(path: Path, args: argparse.Namespace, say: Callable[[str], None]) -> str:
    text = new_key()
    try:
        key = Key(
            name=args.name,
            sha256=hash_of(text.encode()),
            scopes=tuple(dict.fromkeys(args.scope)),
            rate=args.rate,
            quota=args.quota,
            created=datetime.now(UTC).replace(microsecond=0),
            expires=args.expires,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = _NAMES if first["type"] == "string_pattern_mismatch" else first["msg"]
        raise AccessFileInvalid(f"--{first['loc'][0]} {first['input']} cannot be used: {why}") from None
    with _changing(path, may_be_missing=True) as keys:
        same = sum(other.name == key.name and other.revoked is None for other in keys)
        keys.append(key)
    say(f"added key {key.id} of {key.name} to {path}; this is the only time that the key is shown:")
    if key.expires is not None and key.expires <= datetime.now(UTC):
        say(f"this key has expired already: {key.expires:%Y-%m-%d %H:%M} UTC is over")
    if same:
        say(f"{key.name} has older keys too ({same}); revoke those that are no longer needed")
    return text


def _revoke(path: Path, keys: list[Key], key_id: str, say: Callable[[str], None]) -> None:
    found = [i for i, key in enumerate(keys) if key.id == key_id]
    if len(found) != 1:
        raise AccessFileInvalid(f"{path} has no key with the id {key_id}; `keys list` shows the ids")
    key = keys[found[0]]
    if key.revoked is None:
        keys[found[0]] = key.model_copy(update={"revoked": datetime.now(UTC).replace(microsecond=0)})
    say(f"revoked key {key.id} of {key.name}; the file still lists it, so that the log can name who uses it")


def _table(keys: Sequence[Key]) -> str:
    rows = [("id", "name", "scopes", "rate", "quota", "created", "expires", "state")]
    now = datetime.now(UTC)
    for key in keys:
        expired = key.expires is not None and key.expires <= now
        state = "revoked" if key.revoked is not None else "expired" if expired else "valid"
        given = (key.rate, key.quota, key.created, key.expires)
        rate, quota, created, expires = ("-" if value is None else f"{value}" for value in given)
        rows.append((key.id, key.name, ",".join(key.scopes), rate, quota, created[:10], expires[:19], state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


@contextmanager
def _changing(path: Path, *, may_be_missing: bool = False) -> Iterator[list[Key]]:
    """Yield the keys of a file for changes, and write them after the block; other commands wait meanwhile."""
    path = path.resolve()  # replace the file that a link points to, not the link
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise AccessFileInvalid(f"there is no folder {path.parent}; make it first") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # lock the folder, because the file itself is replaced
        keys = [] if may_be_missing and not path.exists() else read_keys(path)
        yield keys
        _replace(path, as_text(keys))
        os.fsync(folder)
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Replace a file at once: write a new one beside it, and rename that to `path`."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            with suppress(FileNotFoundError, PermissionError):
                before = path.stat()  # keep the owner and mode of the old file
                os.fchown(handle, before.st_uid, before.st_gid)
                os.fchmod(handle, before.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(handle)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, required=True, help="as in SPARSIGHT_ACCESS__KEYS_FILE")


def _time(text: str) -> datetime:
    if text.endswith("d") and text[:-1].isascii() and text[:-1].isdigit() and 0 < len(text) <= 5:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(text[:-1]))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2027-01-31, or 90d for 90 days"
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
