"""Show the log on the command line: each message on its own line, above any progress bar."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from tqdm import tqdm

# Not the root logger, because httpx logs every request there, and torch logs what it traces.
LOGGER, BARS = "training", "training.progress"


class _Console(logging.Handler):
    def __init__(self, aside: bool) -> None:
        super().__init__()
        self._aside = aside

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message at once; raise BrokenPipeError if the reader of a pipe has closed it."""
        stream = sys.stderr if self._aside or record.levelno >= logging.WARNING else sys.stdout
        tqdm.write(self.format(record), file=stream)
        stream.flush()  # tqdm does not


@contextmanager
def log_level(name: str, level: int) -> Iterator[logging.Logger]:
    """Set the level of a logger inside the block, and restore it afterwards."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield logger
    finally:
        logger.setLevel(before)


@contextmanager
def telling(*, aside: bool, quiet: bool = False) -> Iterator[None]:
    """Show the log of `training` on the console inside the block; `quiet` hides progress bars.

    If `aside` is true, all messages go to stderr. If it is false, warnings and errors go to stderr, and other
    messages to stdout.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # as stderr does: a file's name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    console, bars = _Console(aside), logging.WARNING if quiet else logging.NOTSET
    with log_level(LOGGER, logging.INFO) as logger, log_level(BARS, bars):
        logger.addHandler(console)
        try:
            yield
        finally:
            logger.removeHandler(console)
