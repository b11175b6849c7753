"""Collects the log messages of `training`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Listening(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Yield a list of the messages logged inside the block, in order; caplog covers the whole test."""
    logger, listening = logging.getLogger("training"), _Listening()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(listening)
    try:
        yield listening.said
    finally:
        logger.removeHandler(listening)
        logger.setLevel(level)
