"""Set up OpenTelemetry as its environment variables say: sampler, service name, and the exporter."""

import os
import threading
from functools import partial

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from service import __version__
from service.errors import SettingsInvalid
from service.timeline import Tracer
from service.tracing.spans import GivenIds, SpanTracer

_OUR_NAME = "sparsight"
_PATIENCE_S = 2.0
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first that is set


def open_tracer(scheme: str) -> Tracer | None:
    """Return a tracer that sends spans over OTLP/HTTP; None if OTEL_SDK_DISABLED is true.

    `scheme` is that of the requests: http or https.

    Raises:
        SettingsInvalid: a variable asks for another protocol or exporter.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    _check("OTEL_TRACES_EXPORTER", ("otlp", "none"), "otlp")
    protocol = next((name for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOLS[-1])
    _check(protocol, ("http/protobuf",), "http/protobuf, and the collector's port for it (4318)")
    ids = GivenIds()
    provider = TracerProvider(resource=_resource(), id_generator=ids, shutdown_on_exit=False)
    if os.environ.get("OTEL_TRACES_EXPORTER") == "none":  # then only the headers and the log have ids
        return SpanTracer(provider, ids, scheme)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return SpanTracer(provider, ids, scheme, partial(_close, provider, exporter))


def _close(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """Send the spans that still wait; give up after a few seconds if no collector takes them.

    By default, OpenTelemetry would try for 10 seconds or more, and the process would not end meanwhile.
    """
    closing = threading.Thread(target=provider.shutdown, daemon=True)
    closing.start()
    closing.join(_PATIENCE_S)
    if closing.is_alive():
        exporter.shutdown()  # type: ignore[no-untyped-call]
        closing.join(_PATIENCE_S)


def _check(name: str, allowed: tuple[str, ...], instead: str) -> None:
    value = os.environ.get(name)
    if value and value not in allowed:
        raise SettingsInvalid(f"{name}={value!r} cannot be used: set it to {instead}, or unset it")


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: __version__})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):  # no variable names the service
        return found.merge(Resource({SERVICE_NAME: _OUR_NAME}))
    return found
