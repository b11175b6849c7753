"""What is given back to the operating system, measured in processes of their own, and what must stay."""

import ctypes
import mmap
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from service.memory import return_unused, unchanged_mappings

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other systems and C libraries lack these functions"
)

SMAPS = """\
1000-3000 r-xp 00000000 08:01 11   /lib/code.so
Rss:                   8 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
3000-4000 r--p 00003000 08:01 11   /lib/code.so
Rss:                   4 kB
Anonymous:             4 kB
4000-5000 rw-p 00004000 08:01 11   /lib/code.so
Anonymous:             0 kB
5000-6000 r--p 00000000 00:00 0
Anonymous:             0 kB
6000-7000 r--s 00000000 00:01 12   /dev/shm/shared
Anonymous:             0 kB
7000-8000 r--s 00000000 08:01 14   /data/model.bin
Anonymous:             0 kB
7fff00000000-7fff00004000 r--p 00000000 08:01 13   /data/with a space.bin
Anonymous:             0 kB
7fff00005000-7fff00006000 r-xp 00000000 00:00 0    [vdso]
Anonymous:             0 kB
"""


def mappings_of(path):
    """Yield start and end of this process's mappings of a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            start, _, end = line.split()[0].partition("-")
            yield int(start, 16), int(end, 16)


def rss_kb_at(address):
    """Return the RSS of the mapping that begins at an address."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.startswith(f"{address:x}-"):
            return next(int(row.split()[1]) for row in lines if row.startswith("Rss:"))
    raise AssertionError("not mapped")


def run(code):
    """Run Python code in a new process, and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_only_files_that_nothing_has_changed_are_chosen():
    chosen = [(0x1000, 0x3000), (0x7000, 0x8000), (0x7FFF00000000, 0x7FFF00004000)]
    assert list(unchanged_mappings(SMAPS)) == chosen


def test_pages_of_a_file_leave_memory_and_come_back_the_same(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        assert len(bytes(mapped)) == 1 << 20
        address = next(start for start, _ in mappings_of(path))
        before = rss_kb_at(address)
        return_unused()
        assert (before, rss_kb_at(address)) == (1024, 0)
        assert bytes(mapped) == path.read_bytes()


def test_what_was_written_into_a_mapping_stays_even_when_it_is_read_only_now(tmp_path):
    path = tmp_path / "library"
    path.write_bytes(b"a" * 8192)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    mapped[:7] = b"changed"
    address, end = next(mappings_of(path))
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(address), ctypes.c_size_t(end - address), mmap.PROT_READ) == 0
    return_unused()
    assert mapped[:10] == b"changedaaa"


def test_memory_between_two_blocks_in_use_is_returned():
    code = """
import ctypes, re
from service.memory import return_unused
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
own = lambda: int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
blocks = [libc.malloc(4000) for _ in range(20_000)]  # 76 MB
for block in blocks: ctypes.memset(block, 1, 4000)
full = own()
for block in blocks[:-1]: libc.free(block)
freed = own()
return_unused()
print(full - freed, full - own())
"""
    freed, returned = map(int, run(code).split())
    assert freed < 10
    assert returned > 70


def test_threads_share_heaps():
    code = """
import ctypes, sys
from threading import Barrier, Thread
from service.memory import limit_arenas
if sys.argv[1:] != ["free"]: limit_arenas(2)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_here = Barrier(6)
def work():
    all_here.wait(); libc.malloc(100_000); all_here.wait()
threads = [Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""
    arenas = {}
    for name in ("free", "limited"):
        done = subprocess.run([sys.executable, "-c", code, name], check=True, capture_output=True, text=True)
        arenas[name] = done.stderr.count("Arena ")
    assert arenas["limited"] == 2 < arenas["free"]


def test_openvino_works_without_its_converter():
    code = """
from service.memory import skip_imports
skip_imports("openvino.tools")
import sys, openvino
print(openvino.Core().available_devices, "openvino_telemetry" in sys.modules)
"""
    assert run(code).strip() == "['CPU'] False"
