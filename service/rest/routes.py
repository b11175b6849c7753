"""The routes for machines: detect, models, health, readiness, metrics."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.rest.answer import to_model_list
from service.rest.body import read_upload
from service.rest.disconnect import unless_caller_leaves
from service.rest.formats.choose import format_of
from service.rest.formats.protocol import Outcome
from service.rest.ids import new_id
from service.rest.problems import MEDIA_TYPE
from service.rest.query import DetectQuery, refuse_repeated
from service.rest.service_of import service_of
from service.rest.wire import Answer, Health, ModelList, Readiness, Results
from service.tasks.resolve import resolve

router = APIRouter()

_IMAGE_FORMATS = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif")
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}
_REQUEST_BODY = {
    "required": True,
    "description": "One image as the body, or a form with one or more files of any name.",
    "content": {
        **dict.fromkeys((*_IMAGE_FORMATS, "application/octet-stream"), _BINARY),
        "multipart/form-data": _FORM,
    },
}
_PROBLEM: dict[str, Any] = {
    "description": "A problem, and what to do about it.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_CODES: tuple[int | str, ...] = (400, 404, 408, 413, 415, 422, 429, 500, 503, 504)
_PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys(_PROBLEM_CODES, _PROBLEM)


@router.post(
    "/detect",
    response_model=Answer | Results,
    responses=_PROBLEMS,
    openapi_extra={"requestBody": _REQUEST_BODY},
    summary="Detect the objects in an image, and report the experts that ran.",
    tags=["detection"],
)
@router.post("/v1/detect", response_model=Answer | Results, include_in_schema=False)
async def detect_route(request: Request, query: Annotated[DetectQuery, Query()]) -> Response:
    """Answer one image with its predictions, and a form with several files with a list of answers."""
    service, params, written = service_of(request), query.params(), format_of(query.format)
    refuse_repeated(request)
    with service.admit():
        manifest = service.choose(params).manifest
        query.check_names(manifest)
        written.check(manifest)
        resolve(params, manifest)  # refuses before the body is read
        upload = await read_upload(request, service.settings)
        context = query.context(request, service.settings.timeout_s)
        if upload.several:
            contexts = [replace(context, request_id=new_id()) for _ in upload.images]
            work = service.detect_all(upload.images, params, contexts)
            found = await unless_caller_leaves(request, work)
            outcomes = [
                Outcome(*pair) for pair in zip((one.request_id for one in contexts), found, strict=True)
            ]
            return written.write(outcomes, several=True, moe=query.moe)
        answered = await unless_caller_leaves(request, service.detect(upload.images[0], params, context))
        return written.write([Outcome(context.request_id, answered)], several=False, moe=query.moe)


@router.get("/models", summary="List the models.", tags=["models"])
async def models_route(request: Request) -> ModelList:
    """List the served models: classes, defaults, allowed top_k, mixture layers."""
    return to_model_list(service_of(request).ready_models())


@router.get("/healthz", summary="Is the process alive?", tags=["operation"])
async def health_route() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@router.get(
    "/readyz",
    responses={503: _PROBLEM},
    response_model_exclude_defaults=True,
    summary="Can the default model answer?",
    tags=["operation"],
)
async def ready_route(request: Request) -> Readiness:
    """Tell that some backend has proved the default model, and is well."""
    service = service_of(request)
    service.check_ready()
    return Readiness(status="ready", notes=[note for note in service.models.notes.values() if note])


@router.get("/metrics", response_class=Response, summary="Every series, for Prometheus.", tags=["operation"])
async def metrics_route(request: Request) -> Response:
    """Give every series in Prometheus' text format."""
    return Response(generate_latest(service_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
