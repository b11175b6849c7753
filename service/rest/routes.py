"""Define the routes of the HTTP API: detect, models, health, readiness and metrics."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from service.artifact.experts_report import ExpertsReport
from service.errors import InvalidParameter, NotReady, ServiceError
from service.request import DetectParams, RequestContext
from service.rest.accept import accepts_open_metrics
from service.rest.admin import check_admin
from service.rest.answer import to_model_list
from service.rest.body import read_upload
from service.rest.describe import DETECT, NOT_READY, PROBLEMS, RELOAD
from service.rest.disconnect import unless_caller_leaves
from service.rest.fetched import images_of
from service.rest.formats.choose import format_of
from service.rest.formats.coco import CocoAnswer
from service.rest.formats.protocol import Format, Outcome
from service.rest.middleware.access import is_told_reasons
from service.rest.query import DetectQuery, read_query, refuse_repeated
from service.rest.service_of import service_of
from service.rest.spending import spend
from service.rest.wire import Answer, Health, ModelList, Readiness, ReloadReport, Results
from service.serving.experts import experts_report
from service.tasks.resolve import resolve
from service.timeline import begin


class _Plain(APIRoute):
    """A route whose function reads the request and writes the response itself, instead of FastAPI."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function of the route unchanged."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


_NO_REASON = "send a key to read why"

router = APIRouter()
detect_router = APIRouter(route_class=_Plain)


@detect_router.post(
    "/detect",
    response_model=Answer | Results | CocoAnswer,
    response_description="The predictions for the image, and the experts that ran.",
    responses={200: {"content": {"image/jpeg": {}}}, **PROBLEMS},
    openapi_extra=DETECT,
    summary="Detect objects or classify an image, and report the experts that ran.",
    tags=["detection"],
)
@detect_router.post("/v1/detect", response_model=Answer | Results | CocoAnswer, include_in_schema=False)
async def detect_route(request: Request) -> Response:
    """Return the predictions for one image, or a list of answers for a form with several files."""
    query = read_query(request)
    return await _detect(request, query, several=query.several)


@detect_router.post(
    "/detect/batch",
    response_model=Results | CocoAnswer,
    response_description="A list of answers and problems, one for each image, in the order sent.",
    responses=PROBLEMS,
    openapi_extra=DETECT,
    summary="As /detect, for one or more images; the answer is always a list.",
    tags=["detection"],
)
@detect_router.post("/v1/detect/batch", response_model=Results | CocoAnswer, include_in_schema=False)
async def batch_route(request: Request) -> Response:
    """Return a list of answers, even for one image."""
    return await _detect(request, read_query(request), several=True)


async def _detect(request: Request, query: DetectQuery, *, several: bool) -> Response:
    query = query.as_accepted_by(request)
    service, params = service_of(request), query.params()
    answer_format = format_of(query.format)
    refuse_repeated(request)
    _check_one_image(query, several=several)
    if params.explain != "off":
        service.check_explain()
    # Wrong parameters are refused before the body is read. `detect` checks them again, because another
    # version of the model may answer by then.
    manifest = service.choose(params).manifest
    query.check_names(manifest)
    answer_format.check(manifest)
    resolve(params, manifest)
    upload = await read_upload(request, service.settings)
    context = query.context(request, service.settings.timeout_s)  # the time limit starts here
    _check_one_image(query, several=upload.several)
    async with images_of(request, upload, context) as images:
        if several or upload.several:
            return await _answer_all(request, query, list(zip(images, upload.files, strict=True)), context)
        (data,), (file,) = images, upload.files
        if isinstance(data, ServiceError):
            raise data
        with spend(request, params, manifest, context):
            answered = await unless_caller_leaves(request, service.detect(data, params, context))
        outcome = Outcome(context.request_id, file, answered)
        if answer_format.needs_drawing:
            with begin(context.step, "draw"):
                drawing = await unless_caller_leaves(request, service.drawing(data, params, answered))
            outcome = replace(outcome, drawing=drawing)
        with begin(context.step, "write"):
            return await _write(answer_format, [outcome], query, several=False)


async def _answer_all(
    request: Request,
    query: DetectQuery,
    images: Sequence[tuple[bytes | ServiceError, str | None]],
    context: RequestContext,
) -> Response:
    service, params = service_of(request), query.params()
    contexts = [replace(context, request_id=f"{context.request_id}-{i + 1}") for i in range(len(images))]
    work = service.detect_all([data for data, _ in images], params, contexts)
    found = await unless_caller_leaves(request, work)
    outcomes = [
        Outcome(one.request_id, file, each)
        for one, (_, file), each in zip(contexts, images, found, strict=True)
    ]
    with begin(context.step, "write"):
        return await _write(format_of(query.format), outcomes, query, several=True)


def _check_one_image(query: DetectQuery, *, several: bool) -> None:
    """Raise InvalidParameter if the answer must be a list, and the format or the explanation has no list."""
    how = "send one file to /detect, without several=true"
    if several and query.explain != "off":
        sentence = f"explain={query.explain} explains one image; {how}"
        raise InvalidParameter("explain", f"{sentence}, or leave out explain for a list")
    if several and format_of(query.format).needs_drawing:
        sentence = f"format={query.format} answers with one image; {how}"
        raise InvalidParameter("format", f"{sentence}, or use format=json for a list")


async def _write(
    answer_format: Format, outcomes: Sequence[Outcome], query: DetectQuery, *, several: bool
) -> Response:
    if query.masks != "polygon":
        return answer_format.write(outcomes, several=several, moe=query.moe)
    # The outlines of large objects have millions of points. In a thread, because they take seconds to write.
    return await asyncio.to_thread(answer_format.write, outcomes, several=several, moe=query.moe)


@router.get("/models", summary="List the models.", tags=["models"])
async def models_route(request: Request) -> ModelList:
    """Return the served models with their classes, defaults, allowed top_k and mixture layers."""
    return to_model_list(service_of(request).ready_models())


@router.get(
    "/models/{name}/experts",
    response_model_exclude_unset=True,  # the report as the exporter wrote it
    responses={404: PROBLEMS[404]},
    summary="What each expert of a model serves.",
    tags=["models"],
)
async def experts_route(request: Request, name: str) -> ExpertsReport:
    """Return how often each expert was chosen for each data set, number of objects and class of images.

    The values were measured when the model was exported. A model may lack this report.
    """
    service = service_of(request)
    manifest = service.choose(DetectParams(model=name)).manifest
    return await asyncio.to_thread(experts_report, service.settings.repository, manifest)


@router.post(
    "/models/reload",
    responses=RELOAD,
    summary="Read the local repository again, and serve new versions. Needs the administrator's token.",
    tags=["operation"],
)
async def reload_route(request: Request) -> ReloadReport:
    """Return the versions that are served from now on, and those that are no longer served."""
    service = service_of(request)
    check_admin(request, service.settings)
    changes = await service.reload()
    return ReloadReport(loaded=changes.loaded, removed=changes.removed)


@router.get("/healthz", summary="Is the process alive?", tags=["operation"])
async def health_route() -> Health:
    """Return ok, which shows that the process answers."""
    return Health(status="ok")


@router.get(
    "/readyz",
    responses=NOT_READY,
    response_model_exclude_defaults=True,
    summary="Can the default model answer?",
    tags=["operation"],
)
async def ready_route(request: Request) -> Readiness:
    """Return ready if at least one healthy backend serves a verified version of the default model.

    Without a key, where keys are asked for, say only that: the reasons name models and folders.
    """
    service = service_of(request)
    told = is_told_reasons(request.app.state.gate, request.scope)
    try:
        service.check_ready()
    except NotReady as error:
        raise (error if told else NotReady(_NO_REASON, error.retry_after_s)) from None
    if not told:
        return Readiness(status="ready", notes=[])
    return Readiness(status="ready", notes=[note for note in service.models.notes.values() if note])


@router.get("/metrics", response_class=Response, summary="The metrics, for Prometheus.", tags=["operation"])
async def metrics_route(request: Request) -> Response:
    """Return every metric of the service in Prometheus' text format, or as OpenMetrics if that is accepted.

    Only OpenMetrics has exemplars, which lead from a histogram to a trace.
    """
    registry = service_of(request).metrics.registry
    if accepts_open_metrics(request):
        text = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return Response(text, media_type=openmetrics.CONTENT_TYPE_LATEST)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
