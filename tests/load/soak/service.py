"""The service of this checkout, which on SIGUSR1 also writes down what it uses: `-m tests.load.soak.service`.

What a process holds is more than what it uses: the C library keeps freed memory, in pieces that differ by
tens of MB from one moment to the next. What is in use differs little, so that a small leak shows. The file
named by SOAK_USED gets one JSON object.
"""

import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path

from service.__main__ import main

_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keep",
)


class _MallInfo(ctypes.Structure):
    """What mallinfo2 of <malloc.h> returns, in bytes, over all heaps."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def write_used(path: Path) -> None:
    """Write what the process uses, after unreachable objects are gone; the file appears whole."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    used = {
        "heap_bytes": info.uordblks + info.hblkhd,
        "free_bytes": info.fordblks,
        "python_blocks": sys.getallocatedblocks(),
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(used))
    partial.replace(path)


if __name__ == "__main__":
    used_file = Path(os.environ.pop("SOAK_USED"))
    signal.signal(signal.SIGUSR1, lambda *_: write_used(used_file))
    sys.exit(main())
