"""Build everything that watches answered images: metrics, drift, novel images, audits and traces."""

import asyncio
from dataclasses import dataclass
from typing import Self

from prometheus_client import CollectorRegistry

from service.audits.auditor import Auditor
from service.expert_metrics import ExpertMetrics
from service.metrics import Metrics
from service.novel.keeper import Keeper
from service.observe.metrics import MetricsObserver
from service.observe.protocol import Observer
from service.routing.monitor import RoutingMonitor
from service.settings import Settings
from service.timeline import Tracer
from service.tracing.observer import TracingObserver
from service.tracing.start import start_tracing


@dataclass(frozen=True)
class Watchers:
    """What watches the images that one service answers."""

    metrics: Metrics
    routing: RoutingMonitor
    keeper: Keeper | None  # None: no novel images are kept
    auditor: Auditor
    tracer: Tracer | None  # None: tracing is off

    @classmethod
    def of(cls, settings: Settings, registry: CollectorRegistry) -> Self:
        """Return the watchers that the settings ask for.

        Raises:
            SettingsInvalid: tracing cannot be started.
        """
        metrics, experts = Metrics(registry), ExpertMetrics(registry)
        keeper = None if settings.novel.folder is None else Keeper(settings, experts)
        routing = RoutingMonitor(settings.repository, experts, None if keeper is None else keeper.ranked)
        metrics.before_reading.append(routing.export)
        return cls(metrics, routing, keeper, Auditor(settings, experts), start_tracing(settings))

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Return the observers that the service notifies about every image, in this order."""
        audited = (self.auditor,) if self.auditor.share > 0 else ()
        traced = () if self.tracer is None else (TracingObserver(),)
        return (MetricsObserver(self.metrics), self.routing, *audited, *traced)

    async def open(self) -> None:
        """Read the folder of novel images."""
        if self.keeper is not None:
            await self.keeper.open()

    async def close(self) -> None:
        """Write the novel images and send the traces that are left."""
        if self.keeper is not None:
            await self.keeper.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)
