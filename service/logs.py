"""One line per event on stderr: the message, then its facts as key=value."""

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class FactsFormatter(logging.Formatter):
    """Shows what was passed in `extra` after the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for one record."""
        line = super().format(record)
        facts = [f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD]
        return " ".join([line, *facts])


def log_to_stderr() -> None:
    """Send every record at INFO or above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FactsFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its greetings say less than ours
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
