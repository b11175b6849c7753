"""Define every Prometheus series that the service exports; dashboards rely on the names of the series."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.registry import Collector

from service.path_metrics import PathMetrics
from service.types import ExpertActivation, Timings

BUCKETS_S = (
    0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.04,
    0.065, 0.1, 0.16, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
ENTROPY_BUCKETS_BITS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)

FetchOutcome = Literal["fetched", "refused", "failed", "too-large", "timeout", "cancelled"]
"""The outcome of fetching one image by its URL."""
RefusedConnection = Literal["malformed", "slow-head", "large-head", "too-many", "tls"]
"""The reason why a connection was closed before it passed a request to the app."""

Series = TypeVar("Series", Counter, Histogram)


class Metrics(Collector):
    """The Prometheus series of the service, and one method for each event that changes a series.

    The number of label values is bounded by the routes, the manifests and the problem types. No label holds
    text that a caller sent.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare every series in `registry`."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # no *_created series
        self._children: dict[tuple[object, ...], Any] = {}  # by series and labels
        self.registry = registry
        self.before_reading: list[Callable[[], None]] = []  # called whenever the metrics are read
        registry.register(self)  # before all series, so that `collect` comes first
        ProcessCollector(namespace="sparsight", registry=registry)  # processor time, memory, open files
        self._requests = Counter(
            "sparsight_requests_total", "Answered requests.", ["route", "code"], registry=registry
        )
        self._request_s = Histogram(
            "sparsight_request_duration_seconds", "Time from first byte to answer.", ["route"],
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._stage_s = Histogram(
            "sparsight_stage_duration_seconds", "Time of one stage for one image.", ["stage", "backend"],
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._inflight = Gauge("sparsight_inflight_requests", "Requests being served.", registry=registry)
        self._rejected = Counter(
            "sparsight_requests_rejected_total", "Refused images and requests.", ["reason"], registry=registry
        )
        self._fetches = Counter(
            "sparsight_fetches_total", "Images named by URL.", ["outcome"], registry=registry
        )
        for outcome in get_args(FetchOutcome):
            self._fetches.labels(outcome)
        self._declare_backend_series(registry)
        self._declare_access_series(registry)
        self._declare_connection_series(registry)
        self._declare_model_series(registry)
        self.paths = PathMetrics(registry)

    def collect(self) -> Iterable[Metric]:
        """Let the observers record what still waits, because the metrics are about to be read."""
        for record in self.before_reading:
            record()
        return ()

    def _declare_model_series(self, registry: CollectorRegistry) -> None:
        expert = ["model", "version", "layer", "expert"]
        self._detections = Counter(
            "sparsight_detections_total", "Reported detections.", ["model", "version"], registry=registry
        )
        self._image_s = Histogram(
            "sparsight_image_duration_seconds", "Time of one answered image, from decode to postprocess.",
            ["model", "version", "backend"], buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._model_info = Gauge(
            "sparsight_model_info", "1 for each served model.", ["model", "version", "sha256", "routing"],
            registry=registry,
        )  # fmt: skip
        self._activations = Counter(
            "sparsight_expert_activations_total", "Images for which an expert was chosen.", expert,
            registry=registry,
        )  # fmt: skip
        self._gate_weight = Counter(
            "sparsight_expert_gate_weight_total", "Sum of an expert's weights over all images.", expert,
            registry=registry,
        )  # fmt: skip
        self._baseline = Gauge(
            "sparsight_expert_baseline_share", "Share of images that chose an expert, measured at export.",
            expert, registry=registry,
        )  # fmt: skip
        self._entropy_bits = Histogram(
            "sparsight_router_entropy_bits", "Entropy of a router's probabilities for one image.",
            ["model", "layer"], buckets=ENTROPY_BUCKETS_BITS, registry=registry,
        )  # fmt: skip
        self._gflops = Counter(
            "sparsight_compute_gflops_total", "Used: with the chosen experts. Dense: with all.", ["kind"],
            registry=registry,
        )  # fmt: skip

    def _declare_backend_series(self, registry: CollectorRegistry) -> None:
        self._backend_up = Gauge(
            "sparsight_backend_up", "1 if the backend can serve.", ["backend"], registry=registry
        )
        self._breaker_state = Gauge(
            "sparsight_breaker_state", "0 closed, 1 half open, 2 open: no requests.",
            ["backend", "model"], registry=registry,
        )  # fmt: skip
        self._broken_models = Gauge(
            "sparsight_broken_models", "Models of the repository whose newest version cannot be served.",
            ["backend"], registry=registry,
        )  # fmt: skip
        self._queue_depth = Gauge(
            "sparsight_queue_depth", "Images waiting for a backend.", ["backend"], registry=registry
        )
        self._queue_wait_s = Histogram(
            "sparsight_queue_wait_seconds", "Time that an image waited for a backend.", ["backend"],
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._brownout = Gauge(
            "sparsight_brownout_effort", "0: experts by default. 1: the operator's bounds.", ["backend"],
            registry=registry,
        )  # fmt: skip
        self._brownout_s = Counter(
            "sparsight_brownout_seconds_total", "Time under load with fewer experts.", ["backend"],
            registry=registry,
        )  # fmt: skip
        self._degraded = Counter(
            "sparsight_degraded_images_total", "Images for which fewer experts ran.", ["model"],
            registry=registry,
        )  # fmt: skip
        self._backend_errors = Counter(
            "sparsight_backend_errors_total", "Calls that a backend did not answer.", ["backend", "reason"],
            registry=registry,
        )  # fmt: skip
        self._failovers = Counter(
            "sparsight_failovers_total", "Images that moved to another backend.", ["backend"],
            registry=registry,
        )  # fmt: skip

    def _declare_access_series(self, registry: CollectorRegistry) -> None:
        self._of_callers = Counter(
            "sparsight_key_requests_total", "Answered requests with a key, by its name.", ["key"],
            registry=registry,
        )  # fmt: skip
        self._access_file_broken = Gauge(
            "sparsight_access_file_broken", "1 if a file with keys cannot be used; the old keys hold.",
            ["file"], registry=registry,
        )  # fmt: skip
        self._audit_lost = Counter(
            "sparsight_audit_lost_total", "Lines that could not be written to the audit file.",
            registry=registry,
        )  # fmt: skip
        self._callers: frozenset[str] = frozenset()

    def declare_callers(self, names: Iterable[str]) -> None:
        """Export a counter for each caller in `names`, first at 0; remove the counters of other callers."""
        names = frozenset(names)
        for name in self._callers - names:
            self._of_callers.remove(name)
            self._children.pop((self._of_callers, (name,)), None)
        for name in names:
            self._of_callers.labels(name)
        self._callers = names

    def caller_answered(self, name: str) -> None:
        """Count an answered request of a caller."""
        if name in self._callers:  # its key may be gone since the request came
            self._child(self._of_callers, name).inc()

    def set_access_file_broken(self, name: str, broken: bool) -> None:
        """Record whether an access file is broken, so that the service cannot use it."""
        self._access_file_broken.labels(name).set(1 if broken else 0)

    def audit_lost(self) -> None:
        """Count a line that could not be written to the audit file."""
        self._audit_lost.inc()

    def _declare_connection_series(self, registry: CollectorRegistry) -> None:
        self._connections = Gauge(
            "sparsight_open_connections", "Open connections of the main port.", registry=registry
        )
        self._refused_connections = Counter(
            "sparsight_refused_connections_total", "Connections closed without a request for the app.",
            ["reason"], registry=registry,
        )  # fmt: skip
        for reason in get_args(RefusedConnection):
            self._refused_connections.labels(reason)
        self._certificate_expiry = Gauge(
            "sparsight_certificate_expiry_timestamp_seconds",
            "When the certificate in use expires, in seconds since 1970; 0 without TLS.", registry=registry,
        )  # fmt: skip

    def declare_reasons(self, reasons: Iterable[str]) -> None:
        """Export the rejection counter of each reason in `reasons` at 0, before the first rejection."""
        for reason in reasons:
            self._rejected.labels(reason)

    def declare_model(self, model: str, version: str, sha256: str, routing: str) -> None:
        """Export `sparsight_model_info` of a served model at 1, and the counters of the model at 0."""
        self._model_info.labels(model, version, sha256, routing).set(1)
        self._detections.labels(model, version)
        self._degraded.labels(model)
        for kind in ("used", "dense"):
            self._gflops.labels(kind)

    def declare_experts(
        self, model: str, version: str, layer: str, num_experts: int, share: Sequence[float] | None
    ) -> None:
        """Export the counters of a layer's experts at 0, so that unused experts appear too."""
        self._entropy_bits.labels(model, layer)
        for expert in range(num_experts):
            labels = (model, version, layer, str(expert))
            self._activations.labels(*labels)
            self._gate_weight.labels(*labels)
            if share is not None:
                self._baseline.labels(*labels).set(share[expert])

    def declare_backend(self, backend: str, reasons: Iterable[str]) -> None:
        """Export the series of a backend at 0 before it serves, with an error counter for each reason."""
        self.set_backend_up(backend, False)
        self.set_queue_depth(backend, 0)
        self.set_broken_models(backend, 0)
        self._queue_wait_s.labels(backend)
        self._failovers.labels(backend)
        self.brownout_stepped(backend, 0, 0)
        for reason in reasons:
            self._backend_errors.labels(backend, reason)

    def retire_model(self, model: str, version: str, sha256: str, routing: str) -> None:
        """Remove `sparsight_model_info` of a model that is no longer served; the model's counters stay."""
        self._model_info.remove(model, version, sha256, routing)

    def set_breaker_state(self, backend: str, model: str, state: int) -> None:
        """Record the state of a circuit breaker: 0 closed, 1 half open, 2 open."""
        self._breaker_state.labels(backend, model).set(state)

    def set_broken_models(self, backend: str, count: int) -> None:
        """Record how many models of the repository have a newest version that cannot be served."""
        self._broken_models.labels(backend).set(count)

    def set_queue_depth(self, backend: str, depth: int) -> None:
        """Record the number of images that wait for a backend."""
        self._queue_depth.labels(backend).set(depth)

    def record_queue_wait(self, backend: str, wait_s: float) -> None:
        """Record the seconds that an image waited for a backend."""
        self._child(self._queue_wait_s, backend).observe(wait_s)

    def brownout_stepped(self, backend: str, effort: float, lowered_s: float) -> None:
        """Record the current brownout effort of a backend, and add the seconds with lowered quality."""
        self._brownout.labels(backend).set(effort)
        self._brownout_s.labels(backend).inc(lowered_s)

    def degraded(self, model: str) -> None:
        """Count an image for which fewer experts ran than by default."""
        self._degraded.labels(model).inc()

    def backend_failed(self, backend: str, reason: str) -> None:
        """Count a call that a backend did not answer; `reason` is the last part of a problem's type."""
        self._backend_errors.labels(backend, reason).inc()

    def failed_over(self, backend: str) -> None:
        """Count an image that moved to another backend after `backend` failed."""
        self._failovers.labels(backend).inc()

    def set_backend_up(self, backend: str, up: bool) -> None:
        """Record whether a backend can serve."""
        self._backend_up.labels(backend).set(1 if up else 0)

    def request_started(self) -> None:
        """Add a request to the number of requests in flight."""
        self._inflight.inc()

    def request_ended(self, route: str, code: int, duration_s: float, trace_id: str | None = None) -> None:
        """Record an answered request, and remove it from the number of requests in flight.

        `trace_id`, here and below, is the id of the request's trace; it becomes an exemplar.
        """
        self._inflight.dec()
        self._child(self._requests, route, str(code)).inc()
        self._child(self._request_s, route).observe(duration_s, _exemplar(trace_id))

    def count_connections(self, count: Callable[[], int]) -> None:
        """Read the number of open connections from `count` whenever the metrics are read."""
        self._connections.set_function(count)

    def connection_refused(self, reason: RefusedConnection) -> None:
        """Count a connection that was closed before it passed a request to the app."""
        self._child(self._refused_connections, reason).inc()

    def set_certificate_expiry(self, at_s: float) -> None:
        """Record when the certificate in use expires, in seconds since 1970."""
        self._certificate_expiry.set(at_s)

    def rejected(self, reason: str) -> None:
        """Count a rejected image or request; `reason` is the last part of the problem's type."""
        self._rejected.labels(reason).inc()

    def fetched(self, outcome: FetchOutcome, duration_s: float) -> None:
        """Count an image named by URL, and record how long the fetch took, including the wait before it."""
        self._fetches.labels(outcome).inc()
        if outcome == "fetched":
            self._child(self._stage_s, "fetch", "none").observe(duration_s)

    def record_stages(self, backend: str, timings: Timings, trace_id: str | None = None) -> None:
        """Record the time of each stage for one image."""
        exemplar = _exemplar(trace_id)
        if timings.router_s is not None:
            self._child(self._stage_s, "router", backend).observe(timings.router_s, exemplar)
        for stage, seconds in (
            ("decode", timings.decode_s),
            ("queue", timings.queue_s),
            ("preprocess", timings.preprocess_s),
            ("infer", timings.infer_s),
            ("postprocess", timings.postprocess_s),
        ):
            self._child(self._stage_s, stage, backend).observe(seconds, exemplar)

    def record_duration(self, model: str, version: str, backend: str, total_s: float) -> None:
        """Record how long one image took in all its stages, in seconds."""
        self._child(self._image_s, model, version, backend).observe(total_s)

    def record_detections(self, model: str, version: str, detections: int) -> None:
        """Count the detections of answered images."""
        self._child(self._detections, model, version).inc(detections)

    def record_experts(self, model: str, version: str, layers: Iterable[ExpertActivation]) -> None:
        """Record the chosen experts, weights and entropies of answered images, in all their layers."""
        weights: defaultdict[tuple[str, int], list[float]] = defaultdict(list)  # by layer and expert
        for layer in layers:
            self._child(self._entropy_bits, model, layer.layer).observe(layer.entropy_bits)
            for expert, weight in zip(layer.active, layer.weights, strict=True):
                weights[layer.layer, expert].append(weight)
        for (name, expert), found in weights.items():
            labels = (model, version, name, str(expert))
            self._child(self._activations, *labels).inc(len(found))
            self._child(self._gate_weight, *labels).inc(sum(found))

    def record_compute(self, used_gflops: float, dense_gflops: float) -> None:
        """Record the compute of answered images, and what it would have been with every expert."""
        self._child(self._gflops, "used").inc(used_gflops)
        self._child(self._gflops, "dense").inc(dense_gflops)

    def _child(self, series: Series, *labels: str) -> Series:
        """Return `series.labels(*labels)`, kept from earlier calls: it is slow, and an image needs twenty."""
        child: Series | None = self._children.get((series, labels))
        if child is None:
            child = self._children[series, labels] = series.labels(*labels)
        return child


def _exemplar(trace_id: str | None) -> dict[str, str] | None:
    return None if trace_id is None else {"trace_id": trace_id}
