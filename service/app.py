"""Build the whole service from its settings; only this module connects the parts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service import __version__
from service.access.gate import Gate
from service.errors import BACKEND_ERRORS, ServiceError, slug_of
from service.metrics import Metrics
from service.pipeline.decode import silence_decoders
from service.rest.audits import router as audits_router
from service.rest.handlers import add_problem_handlers, not_found
from service.rest.heads import HeadAnswers
from service.rest.images import router as images_router
from service.rest.middleware.ports import without_operators
from service.rest.middleware.security import SecurityHeaders
from service.rest.middleware.wrap import wrap
from service.rest.novel import router as novel_router
from service.rest.problems import STATUS
from service.rest.routes import detect_router, router
from service.rest.routing import router as routing_router
from service.rest.secured import describe_keys
from service.serving.detect import DetectService
from service.serving.models import Models
from service.serving.open import open_models
from service.settings import Settings
from service.ui.docs import router as docs_router
from service.ui.page import router as page_router
from service.watchers import Watchers

log = logging.getLogger(__name__)

_ROUTERS = (
    *(detect_router, router, routing_router, audits_router, novel_router),
    *(images_router, page_router, docs_router),
)

Outcome = Models | ServiceError
"""The result of loading: the models, or the error that stopped loading."""


class _OnePort(FastAPI):
    """The app of a service with an admin port: the API description has only the routes of the main port."""

    def openapi(self) -> dict[str, Any]:
        """Return the description of the main port."""
        return without_operators(super().openapi())


def create_app(
    settings: Settings,
    registry: CollectorRegistry | None = None,
    on_loaded: Callable[[Outcome], None] | None = None,
) -> FastAPI:
    """Return the service as an ASGI app; requests for models get a 503 until the models are loaded.

    Args:
        settings: settings of the service.
        registry: registry for the metrics; None for a new one.
        on_loaded: a function that the service calls once, in the event loop: with the models after they are
            loaded, or with the error because of which they cannot be loaded.
    """
    watchers = Watchers.of(settings, registry or CollectorRegistry())
    metrics = watchers.metrics
    _declare(metrics, settings)
    service = DetectService(settings, metrics, watchers.observers, watchers.routing.verdict)
    service.models.on_change.append(lambda: watchers.routing.follow(service.models.known()))
    gate = Gate(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        silence_decoders()
        await watchers.open()
        tasks = [asyncio.create_task(_keep_models(service, on_loaded)), asyncio.create_task(gate.watch())]
        tasks.append(asyncio.create_task(watchers.auditor.run(service.models)))
        yield
        await service.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gate.audit.close()
        await watchers.close()

    app = (FastAPI if settings.admin_port is None else _OnePort)(
        title="Sparsight",
        version=__version__,
        description="Detect objects or classify images, and report the experts of the model that ran.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from a CDN; service/ui/docs.py serves its own
        redoc_url=None,
        # Off, since a redirect repeats the Host header, whose value is whatever the caller wrote.
        redirect_slashes=False,
    )
    app.state.service, app.state.gate = service, gate
    app.state.routing, app.state.auditor = watchers.routing, watchers.auditor
    app.state.novel, app.state.fetcher = watchers.keeper, _fetcher(settings, metrics)
    for included in _ROUTERS:
        app.include_router(included)
    add_problem_handlers(app)
    app.openapi = describe_keys(app)  # type: ignore[method-assign]
    routes = chain(app.routes, *(included.routes for included in _ROUTERS))
    paths = {path for route in routes if (path := getattr(route, "path", None))}
    # Around the whole stack, so that answers to defects also get an id and CORS headers.
    security = SecurityHeaders(settings)
    stack = app.build_middleware_stack()
    wrapped = wrap(stack, service, gate, paths, security, not_found, tracer=watchers.tracer)
    app.middleware_stack, app.state.doorstep = wrapped
    app.state.head_answers = HeadAnswers(metrics, security)
    return app


def _declare(metrics: Metrics, settings: Settings) -> None:
    """Export the metrics about refusals and backends with the value 0, before the first request."""
    metrics.declare_reasons(slug_of(error) for error in STATUS)
    for name in settings.backends:
        metrics.declare_backend(name, map(slug_of, BACKEND_ERRORS))


def _fetcher(settings: Settings, metrics: Metrics) -> object | None:
    """Return the fetcher of images by URL; None if the settings list no host, which saves 6 MB of memory."""
    if not settings.fetch.hosts:
        return None
    from service.fetch.fetcher import Fetcher

    return Fetcher(settings.fetch, metrics)


async def _keep_models(service: DetectService, on_loaded: Callable[[Outcome], None] | None) -> None:
    """Open the models, keep them open until this task is cancelled, then close them."""
    tell = on_loaded or (lambda outcome: None)
    try:
        async with open_models(service.settings, service.models) as service.read_again:
            service.loading = ""
            await service.models.first_ready.wait()
            tell(service.models)
            await asyncio.Event().wait()
    except ServiceError as error:
        service.loading = str(error)
        log.error("models_not_loaded", extra={"why": str(error)})
        tell(error)
    except Exception as error:
        service.loading = "the models could not be loaded; the log gives the reason"
        log.exception("models_not_loaded")
        tell(ServiceError(f"the models could not be loaded: {error!r}"))
