"""Define the routes that show and delete the novel images that are kept for labelling."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service.errors import NovelOff
from service.novel.keeper import Keeper
from service.novel.record import Record, Summary
from service.rest.admin import check_admin
from service.rest.describe import PROBLEMS, RELOAD, WRONG_PARAMETER
from service.rest.service_of import service_of

router = APIRouter(tags=["operation"])
_RESPONSES: dict[int | str, dict[str, Any]] = {
    **{code: text for code, text in RELOAD.items() if code in (401, 403)},
    404: {**PROBLEMS[404], "description": "No images are kept, or not this one."},
}


class NovelImages(BaseModel):
    """The novel images that are kept."""

    total: Annotated[int, Field(description="Number of kept images.")]
    images: Annotated[list[Summary], Field(description="At most `limit` of them.")]


@router.get(
    "/novel",
    response_model=NovelImages,
    responses={**_RESPONSES, **WRONG_PARAMETER},
    summary="The novel images that are kept for labelling. Needs the administrator's token.",
)
async def novel_route(
    request: Request,
    order: Annotated[
        Literal["novel", "new"], Query(description="novel: the most novel first; new: the newest hour first.")
    ] = "novel",
    limit: Annotated[
        int, Query(ge=1, le=10_000, description="Most images in the answer: a whole number from 1 to 10000.")
    ] = 100,
) -> Response:
    """Return the kept images with their scores, without their predictions."""
    records = await _keeper(request).records()
    if order == "new":
        records.sort(key=lambda record: record.hour, reverse=True)  # equal hours stay in order of novelty
    # In a thread, because the text of 10,000 records takes so long that other requests would notice.
    return Response(await asyncio.to_thread(_text, records, limit), media_type="application/json")


@router.get(
    "/novel/{image_id}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **_RESPONSES},
    summary="A kept image. Needs the administrator's token.",
)
async def image_route(request: Request, image_id: str) -> Response:
    """Return a kept image as JPEG: upright, and without metadata."""
    return Response(await _keeper(request).image(image_id), media_type="image/jpeg")


@router.delete(
    "/novel/{image_id}",
    status_code=204,
    responses={**_RESPONSES, 409: {**RELOAD[409], "description": "The files cannot be removed."}},
    summary="Delete a kept image. Needs the administrator's token.",
)
async def delete_route(request: Request, image_id: str) -> None:
    """Delete a kept image and its record."""
    await _keeper(request).delete(image_id)


def _text(records: Sequence[Record], limit: int) -> str:
    shown = [record.summary() for record in records[:limit]]
    return NovelImages(total=len(records), images=shown).model_dump_json()


def _keeper(request: Request) -> Keeper:
    """Return the keeper, for an administrator.

    Raises:
        NovelOff: no folder is set.
    """
    check_admin(request, service_of(request).settings)
    keeper: Keeper | None = request.app.state.novel
    if keeper is None:
        raise NovelOff
    return keeper
