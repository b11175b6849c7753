"""Writes files atomically, and computes their SHA-256."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 1 << 22  # bytes read at once
LONGEST_NAME = 255  # bytes, of a file on the usual systems


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that readers see either the old or the new content, even after a power cut.

    Text is encoded as UTF-8. If writing raises OSError, the old file is unchanged.
    """
    with written_beside(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file to; after the block, this file replaces `path` atomically.

    If the block raises or the disk fails, `path` is unchanged and the temporary file is removed.
    """
    partial = path.with_name(f".{path.name}.partial")
    if len(os.fsencode(partial.name)) > LONGEST_NAME:
        partial = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.partial")
    try:
        yield partial
        flush(partial)  # before the rename, or a power cut can leave the new name without its content
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Force the content of a file to disk (fsync); any program may have written it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path, progress: Callable[[int], object] = lambda count: None) -> str:
    """Return the SHA-256 of a file as hexadecimal text.

    After each chunk that is read, `progress` is called with the chunk's number of bytes.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress(len(chunk))
    return digest.hexdigest()
