"""Choose the observers of a service."""

from service.metrics import Metrics
from service.observe.metrics import MetricsObserver
from service.observe.protocol import Observer


def observers_of(metrics: Metrics) -> tuple[Observer, ...]:
    """Return the observers that the service notifies about every image."""
    return (MetricsObserver(metrics),)
