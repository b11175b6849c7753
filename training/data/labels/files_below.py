"""Lists the files of a data set's folders."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, sorted in each folder; skip hidden files and folders.

    Links to folders are followed, which pathlib's rglob does not do. Each folder is entered only once,
    even if several links lead to it.
    """
    entered = {folder.resolve()}
    for at, subfolders, names in os.walk(folder, followlinks=True):
        there = {name: (Path(at) / name).resolve() for name in sorted(subfolders)}
        subfolders[:] = [n for n, real in there.items() if not n.startswith(".") and real not in entered]
        entered.update(there.values())
        yield from (Path(at) / name for name in sorted(names) if not name.startswith("."))
