"""Notify observers so that a defect in one of them fails no request."""

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from service.errors import ServiceError
from service.observe.protocol import Answered, Observer
from service.request import RequestContext

log = logging.getLogger(__name__)

_LOG_AGAIN_S = 60.0  # a defect may concern every image, and its traceback is long


class Observers:
    """Several observers as one. Use it in the event loop."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        """Notify these observers, in this order."""
        self._observers = observers
        self._silent_until: dict[str, float] = {}  # by the observer's class, after a logged defect

    def answered(self, image: Answered) -> None:
        """Tell all observers about an answered image."""
        self._tell(lambda observer: observer.answered(image))

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Tell all observers about an image that got an error."""
        self._tell(lambda observer: observer.refused(error, context))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                call(observer)
            except Exception:
                name, now = type(observer).__name__, monotonic()
                if now >= self._silent_until.get(name, 0.0):
                    self._silent_until[name] = now + _LOG_AGAIN_S
                    log.exception("observer_failed", extra={"observer": name})
