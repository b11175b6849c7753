"""Serves a repository in this process, and audits the answers."""

import asyncio
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from service.audits.auditor import Auditor
from service.expert_metrics import ExpertMetrics
from service.metrics import Metrics
from service.request import DetectParams, RequestContext
from service.serving.detect import DetectService
from service.serving.open import open_models
from service.settings import Settings
from tests.audit_builders import scene
from tests.builders import golden_image, image_bytes

RED = image_bytes(golden_image())
OUTCOMES = ("agrees", "disagrees", "failed", "skipped")


class Audited:
    """A service whose answers are audited."""

    def __init__(self, service, auditor, registry):
        self.service, self.auditor, self.registry = service, auditor, registry
        self.asked = 0

    async def ask(self, data, **params):
        """Return the answer for an image, after its audit has ended."""
        self.asked += 1
        answered = await self.service.detect(
            data, DetectParams(**params), RequestContext.within(20, f"image-{self.asked}")
        )
        await self.settle()
        return answered

    async def settle(self):
        for _ in range(1000):
            counted = sum(record.outcomes.total() for record in self.auditor.records)
            if counted >= self.asked:
                return
            await asyncio.sleep(0.01)
        raise TimeoutError

    @property
    def record(self):
        (record,) = self.auditor.records
        return record

    @property
    def outcomes(self):
        return {name: count for name, count in self.record.outcomes.items() if count}

    def value(self, name, **labels):
        return self.registry.get_sample_value(name, labels)


@asynccontextmanager
async def auditing(repository, *, chance=lambda: 0.0, share=1.0, quarantine=True, **settings):
    """Serve a repository, and audit the answers."""
    audit = {"share": share, "quarantine": quarantine}
    chosen, registry = Settings(repository=repository, audit=audit, **settings), CollectorRegistry()
    auditor = Auditor(chosen, ExpertMetrics(registry), chance)
    service = DetectService(chosen, Metrics(registry), (auditor,))
    async with open_models(chosen, service.models) as service.read_again:
        service.loading = ""
        task = asyncio.create_task(auditor.run(service.models))
        await asyncio.sleep(0)
        try:
            yield Audited(service, auditor, registry)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await service.close()


async def quarantine(audited, limit=60):
    """Send blue images until the backend is in quarantine; return their number."""
    for number in range(limit):
        await audited.ask(scene("blue", number))
        if audited.record.decided:
            return number + 1
    raise AssertionError("the fault was not found")
