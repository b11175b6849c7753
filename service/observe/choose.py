"""Chooses who is told of every image: one line each."""

from service.metrics import Metrics
from service.observe.metrics import MetricsObserver
from service.observe.protocol import Observer


def observers_of(metrics: Metrics) -> tuple[Observer, ...]:
    """Return the observers of a service."""
    return (MetricsObserver(metrics),)
