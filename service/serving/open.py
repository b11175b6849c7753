"""Open the models of all configured backends."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from service.backends.table import BACKENDS
from service.serving.local_models import check_default, open_local_models
from service.serving.models import Models
from service.settings import Settings


@asynccontextmanager
async def open_models(settings: Settings, models: Models) -> AsyncIterator[None]:
    """Serve the models of every configured backend, local or Triton, during the block.

    Raises:
        ArtifactError: a local model is missing, broken, or does not reproduce its golden sample.
        SettingsInvalid: no configured backend can provide the default model.
    """
    local = [name for name in settings.backends if BACKENDS[name].open is not None]
    async with AsyncExitStack() as stack:
        for name in local:  # first, because local models load sooner and one becomes the default model
            await stack.enter_async_context(open_local_models(name, settings, models))
        check_default(settings, models)
        if len(local) < len(settings.backends):
            from service.serving.triton_models import follow_triton

            await stack.enter_async_context(follow_triton(settings, models))
        yield
