"""The routes for machines: detect, models, health, readiness, metrics."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.errors import InvalidParameter, NotReady, ServiceError
from service.pipeline.models import Model
from service.pipeline.options import Options, Wishes, resolve
from service.pipeline.run import detect
from service.rest.answer import to_answer, to_model_list
from service.rest.body import read_upload
from service.rest.gateway import Gateway, gateway_of
from service.rest.ids import new_id
from service.rest.problems import MEDIA_TYPE, slug_of, to_problem
from service.rest.wire import Answer, DetectQuery, Health, ModelList, Problem, Results
from service.traffic.select import select_backend

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
_PROBLEM_CODES: tuple[int | str, ...] = (400, 404, 408, 413, 415, 422, 429, 500, 503)
_PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys(_PROBLEM_CODES, _PROBLEM)


@dataclass(frozen=True)
class _Job:
    """What is the same for every image of a request."""

    gateway: Gateway
    model: Model
    backend: str
    options: Options
    moe: str

    async def answer(self, image: bytes, request_id: str) -> Answer:
        """Work on one image in a thread, count it, and describe it."""
        artifact, metrics = self.model.artifact, self.gateway.metrics
        work = partial(
            detect,
            image,
            artifact.manifest,
            self.model.backends[self.backend],
            self.options,
            max_pixels=self.gateway.settings.max_pixels,
            queued_at=perf_counter(),
        )
        found = await asyncio.get_running_loop().run_in_executor(self.gateway.pool, work)
        name, version = artifact.manifest.name, artifact.manifest.version
        metrics.record_stages(self.backend, found.timings)
        metrics.record_image(name, version, len(found.detections), found.experts, found.compute)
        return to_answer(request_id, artifact, self.backend, self.options, found, moe=self.moe)


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
        model = gateway.ready_models().get(query.model)
        wishes = Wishes(**query.model_dump(exclude={"model", "moe"}))
        options = resolve(wishes, model.artifact.manifest)
        backend_name, _ = select_backend(query.backend, model.backends)
        job = _Job(gateway, model, backend_name, options, query.moe)
        upload = await read_upload(request, gateway.settings)
        if not upload.several:
            return _json(await job.answer(upload.images[0], request.state.request_id))
        results: list[Answer | Problem] = []
        for image in upload.images:
            image_id = new_id()
            try:
                results.append(await job.answer(image, image_id))
            except ServiceError as error:
                gateway.metrics.rejected(slug_of(type(error)))
                results.append(to_problem(error, image_id))
        return _json(Results(results=results))


@router.get("/models")
async def models_route(request: Request) -> ModelList:
    """List the served models: classes, defaults, allowed top_k, mixture layers."""
    return to_model_list(gateway_of(request).ready_models())


@router.get("/healthz")
async def health_route() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: _PROBLEM})
async def ready_route(request: Request) -> Health:
    """Tell that every model is loaded and has reproduced its golden sample."""
    gateway = gateway_of(request)
    gateway.ready_models()
    if gateway.stopping:
        raise NotReady("it is stopping")
    return Health(status="ready")


@router.get("/metrics", response_class=Response)
async def metrics_route(request: Request) -> Response:
    """Give every series in Prometheus' text format."""
    return Response(generate_latest(gateway_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _refuse_repeated(request: Request) -> None:
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            raise InvalidParameter(name, f"{name} is given {count} times; give it once")


def _json(answer: Answer | Results) -> Response:
    # Unset is left out: no `moe` with moe=off, no `probabilities` without moe=full.
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
