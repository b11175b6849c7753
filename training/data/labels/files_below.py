"""Lists the files in a folder and all its subfolders."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, sorted within each folder.

    Hidden files and the files in hidden folders are skipped. Links to folders are followed, unlike in
    pathlib's rglob. Each folder is entered only once, even if several links lead to it.
    """
    entered = {folder.resolve()}
    for at, subfolders, names in os.walk(folder, followlinks=True):
        there = {name: (Path(at) / name).resolve() for name in sorted(subfolders)}
        subfolders[:] = [n for n, real in there.items() if not n.startswith(".") and real not in entered]
        entered.update(there.values())
        yield from (Path(at) / name for name in sorted(names) if not name.startswith("."))
