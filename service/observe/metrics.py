"""Record every image in the metrics."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from service.artifact.paths import TOP_K
from service.errors import ServiceError, slug_of
from service.metrics import Metrics
from service.observe.protocol import Answered
from service.request import RequestContext
from service.tasks.choose import task_of
from service.types import Compute, ExpertActivation, Timings

_TOGETHER = 25  # images


class _Facts(NamedTuple):
    """What the metrics need of an answered image; it keeps neither the file nor the graph in memory."""

    model: str
    version: str
    backend: str
    trace_id: str | None
    timings: Timings
    detections: int
    experts: tuple[ExpertActivation, ...]
    compute: Compute
    degraded: bool
    route: tuple[int, int] | None  # path and top_k of the image; None: its model has no paths


class MetricsObserver:
    """An observer that records every image in the service's metrics.

    Images wait until there are _TOGETHER of them, or until the metrics are read. After an inference, the
    processor's caches hold other data. So recording each image alone takes several times as long.
    """

    def __init__(self, metrics: Metrics) -> None:
        """Create an observer that records images in `metrics`."""
        self._metrics = metrics
        self._waiting: list[_Facts] = []
        metrics.before_reading.append(self._record_waiting)

    def answered(self, image: Answered) -> None:
        """Record the stage times, detections, chosen experts and compute of an answered image."""
        manifest = image.version.manifest
        self._waiting.append(
            _Facts(
                manifest.name,
                manifest.version,
                image.version.backend_name,
                image.context.trace_id,
                image.timings,
                task_of(manifest).count(image.result),
                image.experts,
                image.compute,
                image.degraded,
                None if image.path is None else (image.path.index, int(image.params.controls[TOP_K])),
            )
        )
        if len(self._waiting) >= _TOGETHER:
            self._record_waiting()

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Count an image that was not answered, by the reason of the error."""
        self._metrics.rejected(slug_of(type(error)))

    def _record_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        of_version: defaultdict[tuple[str, str], list[_Facts]] = defaultdict(list)
        for image in waiting:
            of_version[image.model, image.version].append(image)
        for (model, version), images in of_version.items():
            self._record(model, version, images)

    def _record(self, model: str, version: str, images: Sequence[_Facts]) -> None:
        metrics = self._metrics
        for image in images:
            metrics.record_stages(image.backend, image.timings, image.trace_id)
            metrics.record_duration(model, version, image.backend, image.timings.total_s)
            if image.route is not None:
                metrics.paths.record(model, version, image.backend, *image.route, image.timings.infer_s)
            if image.degraded:
                metrics.degraded(model)
        metrics.record_detections(model, version, sum(image.detections for image in images))
        metrics.record_experts(model, version, chain.from_iterable(image.experts for image in images))
        metrics.record_compute(
            sum(image.compute.used_gflops for image in images),
            sum(image.compute.dense_gflops for image in images),
        )
