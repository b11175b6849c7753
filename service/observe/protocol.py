"""The seam between serving and whoever watches it."""

from dataclasses import dataclass
from typing import Protocol

from service.errors import ServiceError
from service.request import RequestContext, ResolvedParams
from service.tasks.choose import Result
from service.traffic.routes import ServedVersion
from service.types import Compute, ExpertActivation, Timings


@dataclass(frozen=True)
class Answered:
    """Everything that is known about one image."""

    version: ServedVersion  # who answered
    reason: str  # "preferred", "requested", or why a preferred backend did not answer
    context: RequestContext
    params: ResolvedParams
    image_hw: tuple[int, int]
    result: Result
    experts: tuple[ExpertActivation, ...]
    compute: Compute
    timings: Timings


class Observer(Protocol):
    """Told of every image, in the event loop: it must be quick, and must not raise."""

    def answered(self, image: Answered) -> None:
        """Hear of an image that was answered."""
        ...

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Hear of one of several images of a request that was not."""
        ...
