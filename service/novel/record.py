"""Describe a kept image without anything about its caller: the JSON file beside the image."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.artifact.task_settings import TaskName
from service.novel.score import Novelty, Why
from service.observe.protocol import Answered
from service.request import Number
from service.tasks.choose import task_of
from service.tasks.pose import skeleton_of

ID = r"[0-9a-f]{16}"
"""The pattern of the ids of kept images; an id is random."""


class LayerPath(BaseModel):
    """The experts that one layer chose."""

    layer: str
    active: Annotated[list[int], Field(description="Ids of the chosen experts, ascending.")]
    probabilities: Annotated[list[float], Field(description="The router's, for every expert.")]


class Summary(BaseModel):
    """A kept image, without its predictions."""

    model_config = ConfigDict(protected_namespaces=())

    id: Annotated[str, Field(pattern=f"^{ID}$", description="Random; of nothing that the caller sent.")]
    score: Annotated[float, Field(description="How novel: the rarity, plus 1 - confidence.")]
    rank: Annotated[float, Field(description="Of its routing among the baseline's images; 1: unlike all.")]
    rarity: Annotated[
        float,
        Field(description="Distance of its routing from the baseline; 1: the farthest twentieth begins."),
    ]
    path_share: Annotated[float, Field(description="Share of the baseline's images with the same experts.")]
    confidence: Annotated[
        float | None,
        Field(description="Of the best prediction, or 0; null: the caller asked only for some predictions."),
    ]
    why: Why
    hour: Annotated[datetime, Field(description="When it was answered, rounded down to the hour.")]
    model: str
    version: str
    backend: str
    width: int
    height: int
    file_bytes: Annotated[int, Field(description="Size of the image file.")]


class Record(Summary):
    """A kept image with its predictions, as they are stored in the JSON file."""

    model_sha256: str
    task: TaskName
    class_names: list[str]
    skeleton: list[tuple[int, int]] | None
    controls: dict[str, Number]
    path: list[LayerPath]
    place: list[float]
    predictions: list[dict[str, Any]]

    def summary(self) -> Summary:
        """Return the record without its predictions."""
        # Its values are valid already, and to check those of 10,000 records takes half a second.
        return Summary.model_construct(**{name: getattr(self, name) for name in Summary.model_fields})


def record_of(image_id: str, image: Answered, novelty: Novelty, file_bytes: int) -> Record:
    """Return the record of an image that is about to be kept."""
    manifest = image.version.manifest
    height, width = image.image_hw
    return Record(
        id=image_id,
        score=_rounded(novelty.score),
        rank=_rounded(novelty.rank),
        rarity=_rounded(novelty.rarity),
        path_share=_rounded(novelty.path_share),
        confidence=None if novelty.confidence is None else _rounded(novelty.confidence),
        why=novelty.why,
        hour=datetime.now(UTC).replace(minute=0, second=0, microsecond=0),
        model=manifest.name,
        version=manifest.version,
        backend=image.version.backend_name,
        width=width,
        height=height,
        file_bytes=file_bytes,
        model_sha256=image.version.sha256,
        task=manifest.task,
        class_names=list(manifest.class_names),
        skeleton=skeleton_of(manifest),
        controls=dict(image.params.controls),
        path=[
            LayerPath(layer=one.layer, active=list(one.active), probabilities=_all_rounded(one.probabilities))
            for one in image.experts
        ],
        place=_all_rounded(novelty.place.tolist()),
        predictions=[
            one.model_dump(mode="json", exclude_none=True) for one in task_of(manifest).describe(image.result)
        ],
    )


def _rounded(value: float) -> float:
    return round(value, 6)


def _all_rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 5) for value in values]
