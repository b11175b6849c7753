"""Start tracing if the settings ask for it; OpenTelemetry is imported only then."""

from service.errors import SettingsInvalid
from service.settings import Settings
from service.timeline import Tracer


def start_tracing(settings: Settings) -> Tracer | None:
    """Return the tracer; None if tracing is off, by `tracing` or by OTEL_SDK_DISABLED.

    Raises:
        SettingsInvalid: OpenTelemetry is not installed, or a variable OTEL_… asks for something that this
            service cannot do.
    """
    if not settings.tracing:
        return None
    try:
        from service.tracing.opentelemetry import open_tracer
    except ImportError as error:
        install = "install them with: pip install '.[tracing]'"
        raise SettingsInvalid(
            f"SPARSIGHT_TRACING is true, but its packages are missing ({error.name}); {install}"
        ) from error
    return open_tracer("http" if settings.tls.cert is None else "https")
