"""The routes for machines: detect, models, health, readiness, metrics."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.backends.protocol import Call
from service.errors import InvalidParameter, ServiceError, slug_of
from service.pipeline.options import Wishes, resolve
from service.pipeline.run import Task, detect
from service.rest.answer import to_answer, to_model_list
from service.rest.body import read_upload
from service.rest.disconnect import unless_caller_leaves
from service.rest.gateway import Gateway, gateway_of
from service.rest.ids import new_id
from service.rest.problems import MEDIA_TYPE, to_problem
from service.rest.wire import Answer, DetectQuery, Health, ModelList, Problem, Readiness, Results
from service.traffic.select import Wanted, choose

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


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_IMAGES_AT_ONCE = 4  # of one request: enough to fill a server's batch, not enough to starve other callers


@dataclass(frozen=True)
class _Job:
    """What is the same for every image of a request."""

    gateway: Gateway
    task: Task
    moe: str
    call: Call

    async def answer(self, image: bytes, request_id: str) -> Answer:
        """Work on one image, count it, and describe it."""
        metrics = self.gateway.metrics
        found = await detect(image, self.task, replace(self.call, request_id=request_id))
        manifest = found.choice.offer.manifest
        metrics.record_stages(found.choice.offer.backend_name, found.timings)
        metrics.record_image(
            manifest.name, manifest.version, len(found.detections), found.experts, found.compute
        )
        return to_answer(request_id, found, moe=self.moe)

    async def answer_all(self, images: tuple[bytes, ...]) -> Results:
        """Work on several images, a few at once; answer in their order, each with an answer or a problem."""
        room = asyncio.Semaphore(_IMAGES_AT_ONCE)

        async def one(image: bytes) -> Answer | Problem:
            request_id = new_id()
            async with room:
                try:
                    return await self.answer(image, request_id)
                except ServiceError as error:
                    self.gateway.metrics.rejected(slug_of(type(error)))
                    return to_problem(error, request_id)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(image)) for image in images]
        return Results(results=[task.result() for task in tasks])


@router.post(
    "/detect",
    response_model=Answer | Results,
    responses=_PROBLEMS,
    openapi_extra={"requestBody": _REQUEST_BODY},
    summary="Find objects in an image, and tell which experts looked at it.",
)
@router.post("/v1/detect", response_model=Answer | Results, include_in_schema=False)
async def detect_route(request: Request, query: Annotated[DetectQuery, Query()]) -> Response:
    """One image is answered with its detections; a form with several files with a list of answers."""
    gateway = gateway_of(request)
    _refuse_repeated(request)
    with gateway.admission.enter():
        lanes = gateway.ready_models().lanes(query.model)
        wanted = Wanted(query.backend, query.version)
        wishes = Wishes(**query.model_dump(include=set(Wishes.__dataclass_fields__)))
        resolve(wishes, choose(lanes, wanted, {}).offer.manifest)  # refuses before the body is read
        task = Task(
            lanes=lanes,
            wanted=wanted,
            wishes=wishes,
            threads=gateway.threads,
            max_pixels=gateway.settings.max_pixels,
            metrics=gateway.metrics,
        )
        upload = await read_upload(request, gateway.settings)
        job = _Job(gateway, task, query.moe, _call(request, query, gateway.settings.timeout_s))
        if upload.several:
            return _json(await unless_caller_leaves(request, job.answer_all(upload.images)))
        answer = job.answer(upload.images[0], request.state.request_id)
        return _json(await unless_caller_leaves(request, answer))


@router.get("/models")
async def models_route(request: Request) -> ModelList:
    """List the served models: classes, defaults, allowed top_k, mixture layers."""
    return to_model_list(gateway_of(request).ready_models())


@router.get("/healthz")
async def health_route() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: _PROBLEM}, response_model_exclude_defaults=True)
async def ready_route(request: Request) -> Readiness:
    """Tell that some backend has proved the default model, and is well."""
    gateway = gateway_of(request)
    gateway.check_ready()
    return Readiness(status="ready", notes=[note for note in gateway.models.notes.values() if note])


@router.get("/metrics", response_class=Response)
async def metrics_route(request: Request) -> Response:
    """Give every series in Prometheus' text format."""
    return Response(generate_latest(gateway_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _call(request: Request, query: DetectQuery, timeout_s: float) -> Call:
    """Begin the time that a request has: its body has just arrived."""
    allowed_s = timeout_s if query.timeout_ms is None else query.timeout_ms / 1000
    trace = request.headers.get("traceparent", "")
    return Call.within(
        allowed_s,
        request.state.request_id,
        own_limit=allowed_s >= timeout_s,
        traceparent=trace if _TRACEPARENT.fullmatch(trace) else None,
    )


def _refuse_repeated(request: Request) -> None:
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            raise InvalidParameter(name, f"{name} is given {count} times; give it once")


def _json(answer: Answer | Results) -> Response:
    # Unset is left out: no `moe` with moe=off, no `probabilities` without moe=full.
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
