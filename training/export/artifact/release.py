"""From a staging room into the model repository: everything or nothing.

A room is a folder `.staging-<what>-<process id>` in the repository, which servers ignore; it holds folders as
they shall be in the repository. First the files of all models that are there are replaced, then new versions
and new models appear, by one rename each. So -nms and -detect always know every version that the graph has.

A process killed in between has left configurations that name a version which is not there. Whatever a server
has loaded goes on. One that loads them serves the versions that are, but -nms and -detect take the missing
one for the newest: its version and class names are what direct clients then show. If it has other tensors,
the graph's older versions do not fit the configuration and do not load, and neither does -detect. The next
export of this model and target, or `triton-config`, writes the configurations anew and mends both.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from training.errors import ExportError
from training.files import flush

STAGING_PREFIX = ".staging-"


@contextmanager
def staging_room(repository: Path, what: str) -> Iterator[Path]:
    """Make a room for this process, which is gone afterwards; rooms of processes that died are removed."""
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
    # By length: a model before its -nms and its -detect. Where these are new they come complete after the
    # version that they name; where they are there, the first pass has named it to them.
    staged = sorted(room.iterdir(), key=lambda folder: (len(folder.name), folder.name))
    with ExitStack() as undo:
        try:
            moves = [move for folder in staged for move in _moves(folder, repository / folder.name)]
            for source, final in sorted(moves, key=lambda move: move[0].is_dir()):  # files, then folders
                if source.is_dir():
                    source.rename(final)
                    undo.callback(shutil.rmtree, final, ignore_errors=True)
                else:
                    _replace_file(source, final, undo)
        except OSError as error:
            raise ExportError(f"could not release {room}: {error}; nothing was released") from error
        undo.pop_all()


def _moves(staged: Path, final: Path) -> Iterator[tuple[Path, Path]]:
    """Yield every file to replace, and every folder to rename in whole, with the place where it shall be."""
    # An artifact's version is never merged into another: renaming onto a folder that holds anything fails.
    if staged.is_file() or not final.exists() or (staged / "manifest.json").exists():
        yield staged, final
        return
    for entry in sorted(staged.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        yield from _moves(entry, final / entry.name)


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
            flush(path)
