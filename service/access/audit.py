"""Record the refusals and the actions of administrators, so that an operator can look them up later.

Each event goes into the log. If a file is set, it also goes into the file, as one line of JSON. In a flood of
refusals, only a few are written; each tells how many were left out before it.
"""

import json
import logging
import math
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from service.errors import AccessFileInvalid
from service.metrics import Metrics

log = logging.getLogger(__name__)

_REFUSAL_EVERY_S = 0.1
_COMPLAINT_EVERY_S = 60.0
_MOST_WAITING = 1000  # lines; the limit on memory while the disk hangs


class Audit:
    """A writer of these events."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """Write to the log, and to the file at `path` if it is not None.

        Raises:
            AccessFileInvalid: the file cannot be opened.
        """
        self._file = None if path is None else _File(path, metrics)
        self._refused, self._omitted = -math.inf, 0

    def refused(self, facts: Mapping[str, Any]) -> None:
        """Write that a request was refused because its caller has no access."""
        now = monotonic()
        if now - self._refused < _REFUSAL_EVERY_S:
            self._omitted += 1
            return
        omitted, self._refused, self._omitted = self._omitted, now, 0
        facts = {**facts, "omitted": omitted}
        log.warning("access_refused", extra=facts)
        self._keep("access_refused", facts)

    def acted(self, facts: Mapping[str, Any]) -> None:
        """Write that somebody used a path for administrators."""
        log.info("admin_action", extra=dict(facts))
        self._keep("admin_action", facts)

    def changed(self, facts: Mapping[str, Any]) -> None:
        """Write that the service has read a file with keys again."""
        log.info("access_file_read", extra=dict(facts))
        self._keep("access_file_read", facts)

    def _keep(self, event: str, facts: Mapping[str, Any]) -> None:
        if self._file is not None:
            time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            self._file.add(json.dumps({"time": time, "event": event, **facts}, ensure_ascii=False))

    def close(self) -> None:
        """Write the events that still wait; give up after a few seconds."""
        if self._file is not None:
            self._file.close()


class _File:
    """A file to which a thread of its own appends lines, so that a slow disk holds up no request.

    The file is opened anew for each line, so anybody may move or delete it at any time.
    """

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path, self._metrics = path, metrics
        try:
            with path.open("a"):
                pass  # a wrong path is an error at the start, not a line in the log much later
        except OSError as error:
            why = error.strerror or error
            raise AccessFileInvalid(f"the audit file {path} cannot be opened: {why}") from error
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._complained = -math.inf
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost("the disk is too slow")

    def close(self) -> None:
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                with self._path.open("a", encoding="utf-8", errors="replace") as file:
                    file.write(line + "\n")
            except OSError as error:
                self._lost(error.strerror or str(error))

    def _lost(self, why: str) -> None:
        self._metrics.audit_lost()
        if monotonic() - self._complained > _COMPLAINT_EVERY_S:
            self._complained = monotonic()
            log.error("audit_not_written", extra={"file": str(self._path), "why": why})
