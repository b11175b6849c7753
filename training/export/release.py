"""From a staging room into the model repository: everything or nothing.

A room is a folder `.staging-<what>-<process id>` in the repository, which servers ignore; it holds folders as
they shall be in the repository. A model that is new appears by one rename. Of one that is there, files are
replaced first and versions renamed in after them. A process killed in between has at worst left a
configuration that names a version which is not there. Triton then goes on with the versions that are, unless
the new one has tensors of other sizes; the next export of the model, or `triton-config`, writes it anew.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from training.errors import ExportError

STAGING_PREFIX = ".staging-"


@contextmanager
def staging_room(repository: Path, what: str) -> Iterator[Path]:
    """A fresh room for this process, gone afterwards; rooms of processes that died are removed."""
    repository.mkdir(parents=True, exist_ok=True)
    remove_stale_staging(repository)
    room = repository / f"{STAGING_PREFIX}{what}-{os.getpid()}"
    shutil.rmtree(room, ignore_errors=True)  # in a container, the process before had the same id
    room.mkdir()
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def remove_stale_staging(repository: Path) -> None:
    """Delete what exports killed half-way left behind; rooms of living processes stay."""
    for folder in repository.glob(f"{STAGING_PREFIX}*"):
        owner = folder.name.rpartition("-")[2]
        if owner.isdigit() and int(owner) != os.getpid() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def release(room: Path, repository: Path) -> None:
    """Move every folder of the room into the repository; if one fails, take back those before it.

    Raises:
        ExportError: names the file or folder that could not be put in place.
    """
    _flush(room)
    # By length: a model before its -nms and its -detect, which are of no use without it.
    staged = sorted(room.iterdir(), key=lambda folder: (len(folder.name), folder.name))
    with ExitStack() as undo:
        try:
            for folder in staged:
                _place(folder, repository / folder.name, undo)
        except OSError as error:
            raise ExportError(f"could not release {room}: {error}; nothing was released") from error
        undo.pop_all()


def _place(staged: Path, final: Path, undo: ExitStack) -> None:
    # An artefact's version is never merged into another: renaming onto a folder that holds anything fails.
    if not final.exists() or (staged / "manifest.json").exists():
        staged.rename(final)
        undo.callback(shutil.rmtree, final, ignore_errors=True)
        return
    for entry in sorted(staged.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if entry.is_dir():
            _place(entry, final / entry.name, undo)
        else:
            _replace_file(entry, final / entry.name, undo)


def _replace_file(staged: Path, final: Path, undo: ExitStack) -> None:
    before = final.read_bytes() if final.exists() else None
    staged.replace(final)
    if before is None:
        undo.callback(final.unlink, missing_ok=True)
    else:
        undo.callback(_put_back, staged, before, final)


def _put_back(room_file: Path, before: bytes, final: Path) -> None:
    room_file.write_bytes(before)
    room_file.replace(final)


def _flush(room: Path) -> None:
    """Bring every file to the disk, so that a power cut cannot leave a name without its content."""
    for path in room.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
