"""Functions that run in threads beside a test."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def in_threads(calls: Sequence[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Run each function in a thread of its own until the block ends.

    A function gets an event that is set at the end of the block, and must then return.
    """
    stop = threading.Event()
    threads = [threading.Thread(target=call, args=(stop,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
