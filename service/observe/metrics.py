"""Record every image in the metrics."""

from service.errors import ServiceError, slug_of
from service.metrics import Metrics
from service.observe.protocol import Answered
from service.request import RequestContext
from service.tasks.choose import task_of


class MetricsObserver:
    """An observer that records every image in the service's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        """Create an observer that records images in `metrics`."""
        self._metrics = metrics

    def answered(self, image: Answered) -> None:
        """Record the stage times, detections, chosen experts and compute of an answered image."""
        manifest = image.version.manifest
        detections = task_of(manifest).count(image.result)
        backend, trace_id = image.version.backend_name, image.context.trace_id
        self._metrics.record_stages(backend, image.timings, trace_id)
        self._metrics.record_duration(manifest.name, manifest.version, backend, image.timings.total_s)
        self._metrics.record_image(manifest.name, manifest.version, detections, image.experts, image.compute)
        if image.path is not None:
            self._metrics.record_path(manifest.name, manifest.version, backend, image.path.index)
        if image.degraded:
            self._metrics.degraded(manifest.name)

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Count an image that was not answered, by the reason of the error."""
        self._metrics.rejected(slug_of(type(error)))
