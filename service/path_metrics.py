"""Define the Prometheus series about the paths of models with paths."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary

_PATH = ("model", "version", "backend", "path")


class PathMetrics:
    """The Prometheus series of paths; `Metrics` has the rules on labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare every series in `registry`."""
        self._images = Counter(
            "sparsight_path_images_total", "Images that took a path, of a model with paths.", _PATH,
            registry=registry,
        )  # fmt: skip
        self._baseline = Gauge(
            "sparsight_path_baseline_share", "Share of images that took a path, measured at export.", _PATH,
            registry=registry,
        )  # fmt: skip
        self._graph_s = Summary(  # no buckets: a route always takes about the same time
            "sparsight_route_seconds", "Time of the graph of a path at a top_k, for one image.",
            (*_PATH, "top_k"), registry=registry,
        )  # fmt: skip

    def declare(
        self, model: str, version: str, backend: str, count: int, share: Sequence[float] | None
    ) -> None:
        """Export the baseline's shares, and each path's counter at 0, so that unused paths appear, too."""
        for path in range(count):
            labels = (model, version, backend, str(path))
            self._images.labels(*labels)
            if share is not None:
                self._baseline.labels(*labels).set(share[path])

    def forget_shares(self, model: str, backend: str) -> None:
        """Remove the baseline's shares of the paths of a model; the counters of its images stay."""
        self._baseline.remove_by_labels({"model": model, "backend": backend})

    def record(self, model: str, version: str, backend: str, path: int, top_k: int, graph_s: float) -> None:
        """Count an answered image that took a path, and record how long its graph ran, in seconds."""
        self._images.labels(model, version, backend, str(path)).inc()
        self._graph_s.labels(model, version, backend, str(path), str(top_k)).observe(graph_s)
