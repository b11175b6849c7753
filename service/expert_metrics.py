"""Define the Prometheus series about experts over time: drift, novel images, and audits of backends."""

from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

AuditOutcome = Literal["agrees", "disagrees", "failed", "skipped"]
"""The outcome of one audited image: "failed" means that the reference gave no answer to compare with."""
NovelOutcome = Literal["kept", "full"]
"""What became of a novel image; "full": not written, because the folder could not take it."""

_VERSION = ("model", "version", "backend")
_LAYER = (*_VERSION, "layer")
_EXPERT = (*_LAYER, "expert")


@dataclass(frozen=True)
class JudgedCounters:
    """The counters of the images of one version."""

    judged: Counter
    unjudged: Counter
    not_a_number: Counter


class ExpertMetrics:
    """The Prometheus series about what experts do over time.

    The labels `model`, `version` and `backend` name the version that answered; see `Metrics` for the rules
    on labels.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare every series in `registry`."""
        self._declare_drift(registry)
        self._declare_layers(registry)
        self._declare_audits(registry)
        self._declare_novel(registry)

    def counters(self, model: str, version: str, backend: str) -> JudgedCounters:
        """Return the counters of a version's images; they begin at 0."""
        labels = (model, version, backend)
        return JudgedCounters(
            self.judged.labels(*labels), self.unjudged.labels(*labels), self.not_a_number.labels(*labels)
        )

    def forget_routing(self, model: str, version: str, backend: str) -> None:
        """Remove the gauges of drift and of experts of a version; its counters stay."""
        which = {"model": model, "version": version, "backend": backend}
        gauges = (
            *(self.drifting, self.drift_bits, self.drift_pvalue, self.novelty, self.share),
            *(self.dead, self.hot, self.diversity, self.balance, self.entropy_outside),
        )
        for gauge in gauges:
            gauge.remove_by_labels(which)

    def _declare_drift(self, registry: CollectorRegistry) -> None:
        # Routing compared with the manifest's baseline, over the latest images. The layer "path" stands for
        # the experts of all layers together.
        self.judged = Counter(
            "sparsight_routing_judged_images_total", "Images compared with the baseline.", _VERSION,
            registry=registry,
        )  # fmt: skip
        self.unjudged = Counter(
            "sparsight_routing_unjudged_images_total", "Images whose controls have no baseline.", _VERSION,
            registry=registry,
        )  # fmt: skip
        self.drifting = Gauge(
            "sparsight_routing_drifting", "1 while routing differs from the baseline.", _VERSION,
            registry=registry,
        )  # fmt: skip
        self.drift_bits = Gauge(
            "sparsight_routing_drift_bits", "Divergence of the chosen experts from the baseline.", _LAYER,
            registry=registry,
        )  # fmt: skip
        self.drift_pvalue = Gauge(
            "sparsight_routing_drift_pvalue", "Corrected p-value: chance of such a divergence without drift.",
            _LAYER, registry=registry,
        )  # fmt: skip
        self.novelty = Gauge(
            "sparsight_routing_novelty", "Mean rank of images among the baseline's; 0.5 without drift.",
            _VERSION, registry=registry,
        )  # fmt: skip
        self.not_a_number = Counter(
            "sparsight_routing_not_a_number_total", "Images for which a router gave NaN.", _VERSION,
            registry=registry,
        )  # fmt: skip

    def _declare_layers(self, registry: CollectorRegistry) -> None:
        self.share = Gauge(
            "sparsight_expert_share", "Share of the latest images that chose an expert.", _EXPERT,
            registry=registry,
        )  # fmt: skip
        self.dead = Gauge(
            "sparsight_expert_dead", "1 if an expert was never chosen, although the baseline expects it.",
            _EXPERT, registry=registry,
        )  # fmt: skip
        self.hot = Gauge(
            "sparsight_expert_hot", "1 if an expert is chosen far more often than in the baseline.", _EXPERT,
            registry=registry,
        )  # fmt: skip
        self.diversity = Gauge(
            "sparsight_expert_diversity", "exp(H)/N of the shares of a layer's experts; 1 if all are equal.",
            _LAYER, registry=registry,
        )  # fmt: skip
        self.balance = Gauge(
            "sparsight_expert_balance", "Jain's index of the shares of a layer's experts; 1 if equal.",
            _LAYER, registry=registry,
        )  # fmt: skip
        self.entropy_outside = Gauge(
            "sparsight_router_entropy_outside", "1 if a router's mean entropy is unlike the baseline's.",
            _LAYER, registry=registry,
        )  # fmt: skip

    def _declare_audits(self, registry: CollectorRegistry) -> None:
        # Audits: images answered a second time by the reference backend, in the background.
        self.audited = Counter(
            "sparsight_audited_images_total", "Images whose answer was compared with the reference's.",
            [*_VERSION, "outcome"], registry=registry,
        )  # fmt: skip
        self.quarantined = Gauge(
            "sparsight_backend_quarantined", "1 while a backend gets no requests, because audits disagree.",
            ["model", "backend"], registry=registry,
        )  # fmt: skip
        self.audit_s = Counter(
            "sparsight_audit_seconds_total", "Time of the reference backend spent on audits.",
            registry=registry,
        )  # fmt: skip

    def _declare_novel(self, registry: CollectorRegistry) -> None:
        # Images kept for labelling.
        self.novel = Counter(
            "sparsight_novel_images_total", "Novel images, by what became of them.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        for outcome in get_args(NovelOutcome):
            self.novel.labels(outcome)
        self.novel_kept = Gauge(
            "sparsight_novel_images_kept", "Images in the folder of novel images.", registry=registry
        )
