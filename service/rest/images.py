"""Define the routes that answer with an image: the example of a model, and the preview of an image file."""

import asyncio
from functools import partial

from fastapi import APIRouter, Request, Response

from service.errors import InvalidParameter, ServiceError
from service.request import DetectParams, RequestContext
from service.rest.body import read_upload
from service.rest.describe import DETECT_BODY, PROBLEMS
from service.rest.disconnect import unless_caller_leaves
from service.rest.fetched import images_of
from service.rest.query import Bits, refuse_repeated
from service.rest.service_of import service_of
from service.serving.example import example_image

router = APIRouter(tags=["images"])


@router.get(
    "/models/{name}/example",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, 404: PROBLEMS[404]},
    summary="An image on which the model finds something.",
)
async def example_route(request: Request, name: str) -> Response:
    """Return the image of the model's golden sample as PNG, to try the model without an image at hand."""
    service = service_of(request)
    manifest = service.choose(DetectParams(model=name)).manifest
    png = await asyncio.to_thread(partial(example_image, service.settings.repository, manifest))
    return Response(png, media_type="image/png")


@router.post(
    "/preview",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **PROBLEMS},
    openapi_extra={"requestBody": DETECT_BODY},
    summary="An image file as JPEG, upright, for programs that cannot decode its format.",
)
async def preview_route(request: Request, bits: Bits = None) -> Response:
    """Return the pixels that a detection would use, as JPEG; the longer side has at most 2048 pixels."""
    service = service_of(request)
    refuse_repeated(request)
    for name in request.query_params.keys() - {"bits"}:
        raise InvalidParameter(name[:40], f"a preview has no parameter {name[:40]!r}; its only one is bits")
    upload = await read_upload(request, service.settings)
    if upload.several:
        raise InvalidParameter("image", "a preview is of one image; send one file")
    context = RequestContext.within(service.settings.timeout_s, request.state.request_id)
    async with images_of(request, upload, context) as (data,):
        if isinstance(data, ServiceError):
            raise data
        jpeg = await unless_caller_leaves(request, service.preview(data, context, bits))
    return Response(jpeg, media_type="image/jpeg")
