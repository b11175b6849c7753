"""Chooses what runs the models."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import assert_never

from service.serving.models import Models
from service.settings import Settings


@asynccontextmanager
async def open_models(settings: Settings, models: Models) -> AsyncIterator[None]:
    """Load the local models, if any, begin to follow Triton, if it is wanted, and close all at the end.

    Raises:
        ArtifactError: a local model is missing, broken, or does not reproduce its golden sample.
        SettingsInvalid: the default model cannot be had.
    """
    async with AsyncExitStack() as stack:
        for name in sorted(settings.backends):  # local models are ready first, and give the default its name
            match name:
                case "openvino":
                    from service.serving.local_models import open_local_models

                    await stack.enter_async_context(open_local_models(settings, models))
                case "triton":
                    from service.serving.triton_models import follow_triton

                    await stack.enter_async_context(follow_triton(settings, models))
                case _:
                    assert_never(name)
        yield
