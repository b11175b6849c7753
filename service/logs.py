"""Write each log event as one line on stderr: the event name, then its fields, as text or as JSON.

Modules use the standard library's logging, with a searchable event name and the fields in `extra`:
`log.info("model_loaded", extra={"model": "starter", "version": "1"})`. The records of uvicorn and of other
libraries pass through the same processors, so that every line has the same format.
"""

import json
import logging
import os
import re
import select
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.timeline import Trace

LogFormat = Literal["text", "json"]
"""The format of a log line: `text` for people, `json` for a log collector."""

_NEEDS_QUOTES = re.compile(r'[ ="\\]')


def log_to_stderr(log_format: LogFormat = "text") -> None:
    """Configure logging so that every record at INFO or above is written to stderr."""
    handler = _StderrHandler()
    handler.setFormatter(line_formatter(log_format))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its messages at start repeat the service's
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def bind_request(request_id: str, trace: Trace | None) -> None:
    """Add the ids of a request to every later log line of this task and of the tasks that it starts."""
    structlog.contextvars.bind_contextvars(id=request_id)
    if trace is not None:
        structlog.contextvars.bind_contextvars(trace_id=trace.trace_id, span_id=trace.span_id)


def line_formatter(log_format: LogFormat) -> logging.Formatter:
    """Return the formatter that turns a log record into one line."""
    render: list[Processor]
    match log_format:
        case "json":
            render = [structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
        case "text":
            render = [_text_line]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.contextvars.merge_contextvars,  # last, since it replaces nothing
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _without_terminal_text,
            *render,
        ],
    )


def write_to_stderr(data: bytes) -> int:
    """Write what stderr accepts without waiting, and drop the rest; return how many bytes were written.

    The program that reads the log may stop reading or end, or its disk may be full. The event loop writes the
    log, so a write that had to wait would hold up every request.
    """
    written = 0
    try:
        file = sys.stderr.fileno()
        is_free = select.poll()
        is_free.register(file, select.POLLOUT)
        # A pipe that can be written at all takes PIPE_BUF bytes without waiting.
        while written < len(data) and is_free.poll(0):
            written += os.write(file, data[written : written + select.PIPE_BUF])
    except (OSError, AttributeError):  # sys.stderr is None if it was closed when this process began
        pass
    return written


class _StderrHandler(logging.Handler):
    """A handler that writes each record as a line, and logs how many lines were dropped or cut short."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0
        self._is_cut = False  # whether the last line has no end

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self._dropped and self._writes(_dropped_record(self._dropped)):
            self._dropped = 0
        if not self._writes(record):
            self._dropped += 1

    def _writes(self, record: logging.LogRecord) -> bool:
        """Write a record, and return whether stderr accepted all of it."""
        line = f"{self.format(record)}\n"
        data = (f"\n{line}" if self._is_cut else line).encode(errors="backslashreplace")
        if written := write_to_stderr(data):
            self._is_cut = written < len(data)
        return written == len(data)


def _dropped_record(lines: int) -> logging.LogRecord:
    facts = {"levelno": logging.WARNING, "levelname": "WARNING", "msg": "log_lines_dropped", "lines": lines}
    return logging.makeLogRecord({"name": __name__, **facts})


def _without_terminal_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # the same message as in `event`, with escape codes for terminals
    return event


def _text_line(_: WrappedLogger, __: str, event: EventDict) -> str:
    traceback = event.pop("exception", None)
    time, level, name = event.pop("time"), event.pop("level").upper(), _quoted(event.pop("event"))
    logger = event.pop("logger")
    fields = [f"{key}={_quoted(value)}" for key, value in (*event.items(), ("logger", logger))]
    line = " ".join([time, level, name, *fields])
    return line if traceback is None else f"{line}\n{traceback}"


def _quoted(value: Any) -> str:
    plain = value is None or isinstance(value, bool | list | tuple | dict)
    text = json.dumps(value, default=str, ensure_ascii=False) if plain else str(value)
    if text and text.isprintable() and not _NEEDS_QUOTES.search(text):
        return text
    return json.dumps(
        text, ensure_ascii=not text.isprintable()
    )  # escaped, so that text from a caller cannot begin a new log line
