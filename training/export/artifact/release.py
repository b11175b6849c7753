"""Move new artifacts from a staging folder into the model repository: all of them or none.

A staging folder is `.staging-<what>-<process id>` in the repository, and has the layout of the repository.
Servers ignore it. Links in it are relative, so they hold in the repository, too. First, the configurations of
models that are already in the repository are replaced. Then each new version and each new model is renamed
into place. In this order, the configurations of Triton's models `<name>-<target>-nms` and
`<name>-<target>-detect` always list every version of the graph. Last, folders that are not needed any more
are renamed into the staging folder, with which they are deleted.

If the process is killed in between, some configurations name a version that is missing. Models that a server
has loaded keep working. A server that loads such configurations serves the existing versions, but the
configurations of the -nms and -detect models state the number and the class names of the missing version. If
the tensors of the missing version differ, the older versions do not fit the configuration. In this case,
neither the older versions nor `<name>-<target>-detect` load. The next export of this model and target
repairs the configurations, and so does the command `triton-config`.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from training.errors import ExportError
from training.files import flush, write_atomically

STAGING_PREFIX = ".staging-"
_RETIRED = ".retired"  # folder in the staging folder


@contextmanager
def staging_room(repository: Path, what: str) -> Iterator[Path]:
    """Delete the staging folders of dead processes, then yield a new one; delete it after the block."""
    repository.mkdir(parents=True, exist_ok=True)
    remove_stale_staging(repository)
    room = repository / f"{STAGING_PREFIX}{what}-{os.getpid()}"
    shutil.rmtree(room, ignore_errors=True)  # in a container, an earlier process may have had the same id
    room.mkdir()
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def remove_stale_staging(repository: Path) -> None:
    """Delete the staging folders of processes that have died, and keep those of running processes."""
    for folder in repository.glob(f"{STAGING_PREFIX}*"):
        owner = folder.name.rpartition("-")[2]
        if owner.isdigit() and int(owner) != os.getpid() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def release(room: Path, repository: Path, stale: Iterable[Path] = ()) -> None:
    """Move everything in a staging folder into the repository; if one move fails, undo the earlier moves.

    Args:
        stale: folders of the repository that are removed afterwards; if one cannot be, everything is undone.

    Raises:
        ExportError: a file or folder could not be put in place; the message names it.
    """
    for path in room.rglob("*"):
        if path.is_file():
            flush(path)  # after a power cut, no file may have a name but no content
    # By length: a model comes before its -nms and -detect. If new, these follow the version that they name.
    staged = sorted(room.iterdir(), key=lambda folder: (len(folder.name), folder.name))
    with ExitStack() as undo:
        try:
            moves = [move for folder in staged for move in _moves(folder, repository / folder.name)]
            for source, final in sorted(moves, key=_is_folder):  # files, then folders
                if _is_folder((source, final)):
                    source.rename(final)
                    undo.callback(shutil.rmtree, final, ignore_errors=True)
                else:
                    _replace_file(source, final, undo)
            (room / _RETIRED).mkdir()
            for number, folder in enumerate(stale):
                retired = folder.rename(room / _RETIRED / str(number))
                undo.callback(retired.rename, folder)
        except OSError as error:
            raise ExportError(f"could not release {room}: {error}; nothing was released") from error
        undo.pop_all()


def _moves(staged: Path, final: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a (source, destination) pair for each move; a move takes one file, link, or folder as a whole."""
    # A version is renamed as a whole, which fails if its folder exists: versions are never merged.
    whole = staged.is_symlink() or staged.is_file() or (staged / "manifest.json").exists()
    if whole or not final.exists():
        yield staged, final
        return
    for entry in sorted(staged.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        yield from _moves(entry, final / entry.name)


def _is_folder(move: tuple[Path, Path]) -> bool:
    source, _ = move
    return source.is_dir() and not source.is_symlink()


def _replace_file(staged: Path, final: Path, undo: ExitStack) -> None:
    """Replace a file or a link, and register how to undo this."""
    if final.is_symlink():
        target = final.readlink()
        staged.replace(final)
        undo.callback(_link_again, final, target)
        return
    before = final.read_bytes() if final.exists() else None
    staged.replace(final)
    if before is None:
        undo.callback(final.unlink, missing_ok=True)
    else:
        undo.callback(write_atomically, final, before)


def _link_again(final: Path, target: Path) -> None:
    final.unlink(missing_ok=True)
    final.symlink_to(target)
