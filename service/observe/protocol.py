"""Define the interface of an observer, which the service notifies about every image."""

from dataclasses import dataclass
from typing import Protocol

from service.errors import ServiceError
from service.explain.explanation import Explanation
from service.request import RequestContext, ResolvedParams
from service.tasks.choose import Result
from service.traffic.routes import ServedVersion
from service.types import Compute, ExpertActivation, PathChoice, RoutingVerdict, Timings


@dataclass(frozen=True)
class Answered:
    """The answer for one image, with everything that the service knows about the image."""

    version: ServedVersion  # the version that answered
    reason: str  # "preferred", "requested", or why a preferred backend did not answer
    context: RequestContext
    params: ResolvedParams
    degraded: bool  # whether fewer experts ran than by default: images waited, or the time was too short
    data: bytes  # of the image file
    image_hw: tuple[int, int]
    notes: tuple[str, ...]  # notes on parts of the image file that were not used
    result: Result
    experts: tuple[ExpertActivation, ...]
    path: PathChoice | None  # that the model chose; None: the model has no paths
    compute: Compute
    routing: RoutingVerdict  # on the images before this one
    timings: Timings  # without the explanation
    explanation: Explanation | None = None  # only if the request asks for it


class Observer(Protocol):
    """An observer of every image. It runs in the event loop, so it must be fast.

    If it raises, the log has the traceback, and the image is answered all the same.
    """

    def answered(self, image: Answered) -> None:
        """Handle an image that was answered."""
        ...

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Handle an image that got an error; this is called only for requests with several images."""
        ...
