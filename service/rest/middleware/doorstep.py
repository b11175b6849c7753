"""Refuse requests with images under overload as soon as their heads have arrived, without calling the app.

Under overload, most requests are refused. If the app refused them, each would need a task, a copy of its body
and every layer of middleware; this costs several times as much as the refusal itself. So a server that
supports it, such as server/protocol.py, asks this module first. The module leaves unusual requests to the
app, which refuses them in the same way.
"""

from time import perf_counter

from service.access.gate import Gate
from service.access_errors import Forbidden, Unauthorized
from service.errors import Overloaded
from service.rest.middleware.door import IMAGE_PATHS, TOO_MANY, Door, Patience
from service.rest.middleware.recorder import RequestRecorder, request_id_of
from service.rest.middleware.refusal import RawHeaders
from service.timeline import Answer

_PATHS = {path.encode(): path for path in IMAGE_PATHS}
# The body may never come (expect) or end (transfer-encoding), or the answer needs CORS headers (origin).
_NOT_PLAIN = {b"expect", b"transfer-encoding", b"origin", b"upgrade"}
_LONGEST = 2000  # bytes of a target or header that are read here: a query of 20 MB would take seconds


class Doorstep:
    """The check that refuses requests by their heads alone."""

    def __init__(
        self, door: Door, gate: Gate, recorder: RequestRecorder, patience: Patience, max_bytes: int
    ) -> None:
        """Refuse what `door` refuses, if the body has at most `max_bytes` bytes; count and log each refusal.

        Requests of callers without access are left to the app, whose answer reveals nothing about the load.
        """
        self._door = door
        self._gate = gate
        self._recorder = recorder
        self._patience = patience
        self._max_bytes = max_bytes
        self.hold = patience.hold
        self.must_hold = patience.is_exhausted

    def refuse(self, target: bytes, headers: RawHeaders) -> tuple[RawHeaders, bytes] | None:
        """Return the headers and the body of a 429 for a POST request; None if the app must answer.

        Args:
            target: path and query, as they were sent.
            headers: the request's headers, with names in lower case.
        """
        if len(target) > _LONGEST:
            return None
        raw_path, _, query = target.partition(b"?")
        path = _PATHS.get(raw_path)
        if path is None:
            return None
        size_bytes = -1
        for name, value in headers:
            if name in _NOT_PLAIN or len(value) > _LONGEST:
                return None
            if name == b"content-length":
                size_bytes = int(value)
        if not 0 <= size_bytes <= self._max_bytes:
            return None
        started = perf_counter()
        try:
            with self._door.admit(path, query, size_bytes):
                return None  # the app admits it again, together with all that comes until then
        except Overloaded as error:
            return self._answer(error, path, headers, started)

    def _answer(
        self, error: Overloaded, path: str, sent: RawHeaders, started: float
    ) -> tuple[RawHeaders, bytes] | None:
        key = None
        if self._gate.is_on:
            try:
                caller = self._gate.check(path, sent)
            except (Unauthorized, Forbidden):
                return None
            key = None if caller is None else caller.key
        request_id = request_id_of(sent)
        headers, body = self._door.refuse(error, request_id)
        trace = self._recorder.begin(path, "POST", sent)
        if trace is not None:
            trace.error = error
        answer = Answer("POST", path, TOO_MANY, request_id)
        self._recorder.record(answer, started, key=key, trace=trace)
        return [*headers, *self._recorder.headers_besides([], request_id, trace)], body
