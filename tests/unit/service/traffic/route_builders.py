"""Routes to backends whose behaviour a test defines."""

import asyncio

from service.settings import BrownoutSettings
from service.traffic.breaker import Breaker
from service.traffic.brownout import Brownout
from service.traffic.routes import Route, ServedVersion
from service.traffic.turns import Turns

JOB = object()  # a scripted backend does not look at it


class ScriptedBackend:
    """Follows a list, one item per call: raises an error, returns a dictionary, or waits for ever (None)."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = 0
        self.cancelled = 0

    async def run(self, job, context):
        self.calls += 1
        step = self.script.pop(0) if self.script else {}
        if isinstance(step, Exception):
            raise step
        if step is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return step

    async def close(self):
        pass


class FakeClock:
    """A clock that a test moves forward."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make_route(
    manifest,
    backend_name="triton",
    *,
    versions=("1",),
    backend=None,
    failures=3,
    clock=None,
    on_error=lambda error: None,
):
    """Return a route on one backend with these versions of the model."""
    breaker = Breaker(failures, lambda state: None, clock or FakeClock())
    route = Route(backend_name, manifest.name, breaker, Turns(8), Brownout(BrownoutSettings()), on_error)
    backend = backend or ScriptedBackend()
    served = {version: make_version(manifest, backend_name, version, backend) for version in versions}
    route.set_versions(served)
    return route


def make_version(manifest, backend_name, version, backend):
    """Return one served version of the model."""
    numbered = manifest.model_copy(update={"version": version})
    return ServedVersion(backend_name, numbered, f"sha-{version}", backend)
