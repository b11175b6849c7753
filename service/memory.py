"""Return memory that only the start needed to the operating system; this has an effect only on Linux.

Loading a model needs more memory than serving it: OpenVINO transforms the graph in many steps, and most of
its code runs only then. After that, the C library keeps the freed memory and the kernel keeps the pages of
code, in case the process needs them again.
"""

import ctypes
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

log = logging.getLogger(__name__)

_MAPS = Path("/proc/self/smaps")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([r-][w-][x-])[ps] [0-9a-f]+ \S+ \d+ *(.*)")
_DONT_NEED = 4  # MADV_DONTNEED of <sys/mman.h>
_ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>


def limit_arenas(count: int) -> None:
    """Let the threads of this process share `count` heaps; call this before the process starts other threads.

    By default, glibc gives each thread a heap of its own, until there are 8 heaps for each core. A heap keeps
    the memory that its threads have freed, so in time the images would fill one heap after another.
    """
    if (mallopt := _libc("mallopt")) is not None:
        mallopt(_ARENA_MAX, count)


def skip_imports(*names: str) -> None:
    """Make an import of these modules fail with ImportError; call this before any of them is imported."""
    for name in names:
        cast("dict[str, object]", sys.modules).setdefault(name, None)


def return_unused() -> None:
    """Return freed memory, and drop unchanged pages of mapped files (mostly code), which can be read again.

    Memory in use stays valid, so the service can answer requests meanwhile. If a dropped page is needed
    again, it is usually still in the kernel's file cache, unless other programs needed that memory.
    """
    if (malloc_trim := _libc("malloc_trim")) is not None:
        malloc_trim(0)  # free() only returns the end of a heap; this also returns whole pages before it
    if (madvise := _libc("madvise")) is None:
        return
    try:
        smaps = _MAPS.read_text()
    except OSError as error:  # hidden from this process; the kernel unmaps the pages when memory is short
        log.info("memory_kept", extra={"why": str(error)})
        return
    for start, end in unchanged_mappings(smaps):
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def unchanged_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end addresses of read-only file mappings that have never been changed.

    MADV_DONTNEED undoes changes, so it is safe for these mappings only. A mapping that is read-only now can
    still hold changes, because the loader of libraries writes addresses into it first.

    Args:
        smaps: text of /proc/<pid>/smaps; its `Anonymous` counts the changed pages of a mapping.
    """
    found: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if (mapping := _MAPPING.match(line)) is not None:
            start, end, rights, name = mapping.groups()
            of_file = name.startswith("/") and not name.startswith("/dev/")
            found = (int(start, 16), int(end, 16)) if of_file and "w" not in rights else None
        elif found is not None and line.split() == ["Anonymous:", "0", "kB"]:
            yield found


def _libc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None on other systems than Linux, or if the library lacks it."""
    if sys.platform != "linux":
        return None
    return cast("Callable[..., int] | None", getattr(ctypes.CDLL(None), name, None))
