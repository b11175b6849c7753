"""Lanes in front of backends that do what a test says."""

import asyncio

import numpy as np

from service.traffic.breaker import Breaker
from service.traffic.lanes import Inputs, Lane, Offer
from service.traffic.turns import Turns

BLANK = Inputs(np.zeros((1, 64, 64, 3), np.uint8), 2, 0.0)


class ScriptedBackend:
    """Does one thing after the other: raises an error, returns a dictionary, or waits for ever at `None`."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = 0
        self.cancelled = 0

    async def infer(self, images, top_k, weight_threshold, call):
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
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make_lane(manifest, backend_name="triton", *, versions=("1",), backend=None, failures=3, clock=None):
    """Return a lane with these versions of the model, all on one backend."""
    breaker = Breaker(failures, lambda state: None, clock or FakeClock())
    lane = Lane(backend_name, manifest.name, breaker, Turns(8))
    backend = backend or ScriptedBackend()
    lane.set_offers({version: make_offer(manifest, backend_name, version, backend) for version in versions})
    return lane


def make_offer(manifest, backend_name, version, backend):
    """Return one version of the model."""
    numbered = manifest.model_copy(update={"version": version})
    return Offer(backend_name, numbered, f"sha-{version}", backend)
