"""Files on disk: written whole or not at all, and told apart by their SHA-256."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 1 << 22  # bytes read at once


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file that a reader sees as it was before or whole, even after a power cut; text as UTF-8.

    Raises:
        OSError: it cannot be written; the path is as before.
    """
    with written_beside(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path to write to, for libraries that want one; its file takes the place of `path` at the end.

    Where the block or the disk fails, `path` is as before and nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        flush(partial)  # before the rename: otherwise a power cut can leave the name without its content
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Bring a file's content to the disk, whoever wrote it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path, progress: Callable[[int], object] = lambda count: None) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Args:
        progress: told after each part how many bytes it had.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress(len(chunk))
    return digest.hexdigest()
