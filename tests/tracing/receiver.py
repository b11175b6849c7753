"""Receives spans over OTLP/HTTP as a collector does, with OpenTelemetry's own protobuf messages.

The gateway sends them as protobuf, tritonserver 2.51 as JSON.
"""

import base64
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_WAIT_S = 20.0


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it arrived."""

    trace_id: str
    span_id: str
    parent_id: str  # empty if the span has no parent
    name: str
    kind: str  # SERVER, CLIENT, INTERNAL, …
    status: str  # UNSET, OK, ERROR
    status_text: str
    began_ns: int
    ended_ns: int
    facts: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    resource: Mapping[str, Any]

    @property
    def duration_ms(self) -> float:
        """Return how long the span lasted."""
        return (self.ended_ns - self.began_ns) / 1e6


class Receiver:
    """The spans that have arrived."""

    def __init__(self, port: int, *, keep: bool) -> None:
        self.keep = keep
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[ReceivedSpan] = []
        self.refused: list[str] = []  # what came and was no export of spans
        self._arrived = threading.Condition()

    def take(self, message: ExportTraceServiceRequest) -> None:
        """Store the spans of one export."""
        found = [
            _received(span, _facts(part.resource.attributes))
            for part in message.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]
        with self._arrived:
            self.spans.extend(found)
            self._arrived.notify_all()

    def of(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of one trace."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def wait_for(
        self, trace_id: str, enough: Callable[[list[ReceivedSpan]], bool], limit_s: float = _WAIT_S
    ) -> list[ReceivedSpan]:
        """Return the spans of a trace once `enough` accepts them, or what has come within the time limit."""
        end = time.monotonic() + limit_s
        with self._arrived:
            while not enough(self.of(trace_id)) and (left_s := end - time.monotonic()) > 0:
                self._arrived.wait(left_s)
        return self.of(trace_id)


@contextmanager
def receive_spans(*, keep: bool = True) -> Iterator[Receiver]:
    """Listen on a free port of this machine until the block ends; without `keep`, drop all spans unread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            form = self.headers["Content-Type"]
            read = _READ.get(form) if self.path == "/v1/traces" else None
            if read is None:
                receiver.refused.append(f"{self.path} {form}")
            elif receiver.keep:
                receiver.take(read(body))
            empty = ExportTraceServiceResponse()
            answer = b"{}" if form == _JSON else empty.SerializeToString()
            self.send_response(404 if read is None else 200)
            self.send_header("Content-Type", form)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port, keep=keep)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _from_json(body: bytes) -> ExportTraceServiceRequest:
    """Return the message; OTLP writes ids in hexadecimal, where JSON of protobuf has base64."""
    document = json.loads(body, object_hook=_with_base64)
    return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _with_base64(part: dict[str, Any]) -> dict[str, Any]:
    for name in ("traceId", "spanId", "parentSpanId"):
        if name in part:
            part[name] = base64.b64encode(bytes.fromhex(part[name])).decode()
    return part


_JSON = "application/json"
_READ: Mapping[str, Callable[[bytes], ExportTraceServiceRequest]] = {
    "application/x-protobuf": ExportTraceServiceRequest.FromString,
    _JSON: _from_json,
}


def _received(span: Span, resource: Mapping[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_text=span.status.message,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        facts=_facts(span.attributes),
        events=tuple((event.name, _facts(event.attributes)) for event in span.events),
        resource=resource,
    )


def _facts(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)
