"""Open the models of all configured backends, and read the local repository again on request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from service.backends.table import BACKENDS
from service.errors import ArtifactMissing, ReloadIncomplete, ServiceError
from service.serving.local_models import Changes, LocalModels, check_default
from service.serving.models import Models
from service.settings import Settings

log = logging.getLogger(__name__)

Reload = Callable[[], Awaitable[Changes]]
"""A function that reads the local repository again; it raises ReloadIncomplete if a model is broken."""


@asynccontextmanager
async def open_models(settings: Settings, models: Models) -> AsyncIterator[Reload]:
    """Serve the models of every configured backend, local or Triton, during the block.

    Raises:
        ArtifactError: there is no local model, or the default model cannot be loaded.
        SettingsInvalid: no configured backend can provide the default model.
    """
    local = [
        LocalModels(name, settings, models) for name in settings.backends if BACKENDS[name].open is not None
    ]
    async with AsyncExitStack() as stack:
        broken: dict[str, ServiceError] = {}
        for one in local:  # first, because local models load sooner and one becomes the default model
            stack.push_async_callback(one.close)
            broken |= (await one.read()).broken
            models.settle_default()
        check_default(settings, models, broken)
        if len(local) < len(settings.backends):
            from service.serving.triton_models import follow_triton

            await stack.enter_async_context(follow_triton(settings, models))
        yield _Readings(local).read


class _Readings:
    """Repeated readings of the local repository; calls during one reading share the next reading."""

    def __init__(self, local: Sequence[LocalModels]) -> None:
        self._local = local
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[Changes] | None = None  # the reading that has not begun

    async def read(self) -> Changes:
        """Read the repository; return what has changed, or raise ReloadIncomplete."""
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        return await asyncio.shield(self._next)  # others may wait for it, too

    async def _read(self) -> Changes:
        async with self._lock:
            self._next = None
            return await _read_again(self._local)


async def _read_again(local: Sequence[LocalModels]) -> Changes:
    whole, broken = Changes(), []
    for one in local:
        try:
            changes = await one.read()
        except ArtifactMissing as error:
            broken.append(str(error))
            continue
        whole.loaded += changes.loaded
        whole.removed += changes.removed
        broken += [f"model {name!r}: {error}" for name, error in changes.broken.items()]
    log.info("models_reloaded", extra={"loaded": whole.loaded, "removed": whole.removed, "broken": broken})
    if broken:
        loaded = f"; loaded: {', '.join(whole.loaded)}" if whole.loaded else ""
        removed = f"; removed: {', '.join(whole.removed)}" if whole.removed else ""
        sentence = "; ".join(broken) + ". What was served before stays in service"
        raise ReloadIncomplete(f"{sentence}{loaded}{removed}")
    return whole
