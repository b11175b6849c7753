"""Watches on which cores the threads of processes may run."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ALL = frozenset(os.sched_getaffinity(0))


def cores_seen(pids: Iterable[int], work: Callable[[], object], seconds: float) -> set[frozenset[int]]:
    """Return every set of cores that a thread of these processes was bound to while `work` was repeated.

    OpenVINO binds a thread only while the thread computes. So the threads are watched again and again.
    """
    seen: set[frozenset[int]] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for pid in pids:
                for task in Path(f"/proc/{pid}/task").glob("*"):
                    try:
                        seen.add(frozenset(os.sched_getaffinity(int(task.name))))
                    except ProcessLookupError:  # the thread has just ended
                        continue
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            work()
    finally:
        over.set()
        watcher.join()
    return seen
