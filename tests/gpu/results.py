"""Writes each result of a part at once: as JSON lines for programs, and as text for people."""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS_FILE = "results.jsonl"
SUMMARY_FILE = "summary.txt"


class Skipped(Exception):
    """This machine cannot make the check; the message gives the reason."""


class Results:
    """Appends the records of one part to the files of a folder; a record is on disk before the next begins.

    Attributes:
        failed: names of the checks that failed.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.failed: list[str] = []
        self._folder = folder
        self._part = part
        self._begun_s = time.monotonic()

    def record(self, check: str, outcome: str, **values: Any) -> None:
        """Write one record; `outcome` is measured, passed, failed or skipped."""
        at_s = round(time.monotonic() - self._begun_s, 2)
        line = {"part": self._part, "check": check, "outcome": outcome, "at_s": at_s, **values}
        append(self._folder / RESULTS_FILE, json.dumps(line))
        told = f"{self._part}: {check}: {outcome}{in_words(values)}"
        append(self._folder / SUMMARY_FILE, told)
        say(told)

    @contextmanager
    def check(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield a mapping for findings, recorded as passed; record an exception as failed, and continue."""
        values: dict[str, Any] = {}
        try:
            yield values
        except Skipped as why:
            self.record(name, "skipped", why=str(why))
        except Exception as error:  # noqa: BLE001  # any exception is a failed check
            traceback.print_exc()
            self.failed.append(name)
            self.record(name, "failed", **values, error=f"{type(error).__name__}: {error}"[:500])
        else:
            self.record(name, "passed", **values)


def in_words(values: Mapping[str, Any]) -> str:
    """Return short values as text; long values are only in the JSON lines."""
    words = [f"{name} {text}" for name, value in values.items() if (text := _text(value))]
    return f"  {', '.join(words)}" if words else ""


def _text(value: Any) -> str:
    match value:
        case float():
            return f"{value:.4g}"
        case {"median": median, "least": least, "most": most}:
            return f"{median:.4g} ({least:.4g} to {most:.4g})"
        case list() | dict():
            return ""
        case _:
            return str(value)


def append(path: Path, line: str) -> None:
    """Append a line and force it to disk, because the machine may be taken away at any moment."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def say(line: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
