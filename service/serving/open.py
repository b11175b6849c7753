"""Opens what runs the models."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from service.backends.table import BACKENDS
from service.serving.local_models import check_default, open_local_models
from service.serving.models import Models
from service.settings import Settings


@asynccontextmanager
async def open_models(settings: Settings, models: Models) -> AsyncIterator[None]:
    """Load the local models, if any, begin to follow Triton, if it is wanted, and close all at the end.

    Raises:
        ArtifactError: a local model is missing, broken, or does not reproduce its golden sample.
        SettingsInvalid: the default model cannot be had.
    """
    local = [name for name in settings.backends if BACKENDS[name].open is not None]
    async with AsyncExitStack() as stack:
        for name in local:  # ready first, and give the default its name
            await stack.enter_async_context(open_local_models(name, settings, models))
        check_default(settings, models)
        if len(local) < len(settings.backends):
            from service.serving.triton_models import follow_triton

            await stack.enter_async_context(follow_triton(settings, models))
        yield
