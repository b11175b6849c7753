"""Builds the whole service from its settings: the one place where the parts meet."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service import __version__
from service.errors import ServiceError
from service.metrics import Metrics
from service.pipeline.decode import silence_decoders
from service.pipeline.models import Models, open_models
from service.rest.gateway import Gateway
from service.rest.middleware import RequestRecorder
from service.rest.problems import STATUS, add_problem_handlers, slug_of
from service.rest.routes import router
from service.settings import Settings
from service.ui.page import router as page_router

log = logging.getLogger(__name__)

Outcome = Models | ServiceError
"""How loading ended."""


def create_app(
    settings: Settings,
    registry: CollectorRegistry | None = None,
    on_loaded: Callable[[Outcome], None] | None = None,
) -> FastAPI:
    """Build the service. It answers at once, and is ready when the models have proved themselves.

    Args:
        settings: everything that can be chosen.
        registry: where to declare the metrics; a new one if None.
        on_loaded: told once how loading ended, in the event loop.
    """
    gateway = Gateway(settings, Metrics(registry or CollectorRegistry()))
    gateway.metrics.declare_reasons(slug_of(error) for error in STATUS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        silence_decoders()
        with ExitStack() as stack:
            loading = asyncio.create_task(_load(gateway, stack, on_loaded))
            yield
            gateway.stopping = True
            await loading
            gateway.pool.shutdown()  # before the models are closed: a thread may still be using one

    app = FastAPI(
        title="Sparsight",
        version=__version__,
        description="Object detection with a mixture of experts, and what the experts did.",
        lifespan=lifespan,
        docs_url=None,  # these pages would fetch their scripts from elsewhere
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.include_router(router)
    app.include_router(page_router)
    add_problem_handlers(app)
    routes = (*app.routes, *router.routes, *page_router.routes)
    paths = {path for route in routes if (path := getattr(route, "path", None))}
    app.add_middleware(RequestRecorder, metrics=gateway.metrics, paths=paths)
    return app


async def _load(gateway: Gateway, stack: ExitStack, on_loaded: Callable[[Outcome], None] | None) -> None:
    outcome: Outcome
    try:
        models = open_models(gateway.settings, gateway.metrics)
        outcome = await asyncio.to_thread(stack.enter_context, models)
        gateway.models = outcome
    except ServiceError as error:
        outcome = error
        gateway.why_not_ready = str(error)
        log.error("models could not be loaded", extra={"why": str(error)})
    except Exception as error:
        gateway.why_not_ready = "the models could not be loaded; the log says why"
        log.exception("models could not be loaded")
        outcome = ServiceError(f"the models could not be loaded: {error!r}")
    if on_loaded is not None:
        on_loaded(outcome)
