"""Count the runs of a fuzzing process in a file, with its newest input, so that a crash loses neither."""

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<6QI")
_SIZE = 1 << 20


class Tally(NamedTuple):
    """How many mutated inputs were run, and what became of them."""

    runs: int = 0
    accepted: int = 0
    refused: int = 0
    peak_kb: int = 0  # most memory of a process
    grown_kb: int = 0  # of which beyond what it had before its first input
    slowest_us: int = 0  # longest processor time of an input


class Counts:
    """The file with the counts, mapped into memory: what was written stays when the process dies."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it."""
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    def write(self, tally: Tally, data: bytes = b"") -> None:
        """Write the counts, and the input that is about to be run."""
        _HEAD.pack_into(self._map, 0, *tally, len(data))
        self._map[_HEAD.size : _HEAD.size + len(data)] = data

    def read(self) -> tuple[Tally, bytes]:
        """Return the counts, and the input that was run last."""
        *numbers, length = _HEAD.unpack_from(self._map, 0)
        return Tally(*numbers), self._map[_HEAD.size : _HEAD.size + length]
