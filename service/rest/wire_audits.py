"""Define the JSON body of the audits' report; openapi.json is generated from these classes."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.audits.verdict import Kind


class AuditReference(BaseModel):
    """The artifact with which a backend is compared, and the engine that runs it in this process."""

    engine: str
    target: str
    version: str
    precision: str
    sha256: str
    same_files: Annotated[
        bool,
        Field(
            description="true: it reads the audited artifact's own files. The audit then finds faults of the"
            " engine or the server, but no wrong weights in the files."
        ),
    ]


class AuditDifference(BaseModel):
    """One difference between an audited answer and the reference's."""

    kind: Kind
    where: Annotated[str, Field(description="The layer, or the class and the position of the box.")]
    by: Annotated[float | None, Field(description="Size; of a missing or extra box, its score.")]
    limit: Annotated[float | None, Field(description="Largest size that counts as agreement.")]


class AuditDisagreement(BaseModel):
    """An image on which backend and reference disagree."""

    id: Annotated[str, Field(description="Id of the request.")]
    at: datetime
    counted: Annotated[bool, Field(description="false: the image shows a scene that was counted before.")]
    differences: list[AuditDifference]


class AuditSuspect(BaseModel):
    """An expert whose images disagree."""

    layer: str
    expert: int
    images: Annotated[int, Field(description="Counted images for which the reference chose the expert.")]
    disagreeing: int


class AuditedBackend(BaseModel):
    """The audits of one version on one backend."""

    model: str
    version: str
    backend: str
    sha256: str
    state: Annotated[
        Literal["auditing", "disagrees", "quarantined"],
        Field(description="disagrees: with SPARSIGHT_AUDIT__QUARANTINE=false, instead of quarantined."),
    ]
    reference: AuditReference | None
    outcomes: Annotated[dict[str, int], Field(description="Images: agrees, disagrees, failed, skipped.")]
    why: Annotated[str, Field(description="Why the latest image was not compared; empty if it was.")]
    counted: Annotated[int, Field(description="Images that count for the decision: one of each scene.")]
    disagreeing: Annotated[int, Field(description="Counted images on which the backend disagrees.")]
    allowed_share: Annotated[
        float | None, Field(description="Share of images, 0 to 1, that may disagree; null: none compared.")
    ]
    evidence: Annotated[float, Field(description="Evidence that the backend disagrees more often.")]
    alarm: Annotated[float, Field(description="From this evidence on, the backend is in quarantine.")]
    suspects: Annotated[list[AuditSuspect], Field(description="The most suspect experts, at most five.")]
    disagreements: Annotated[list[AuditDisagreement], Field(description="The newest, at most 20.")]


class AuditReport(BaseModel):
    """The audits since the start of the service, without any image."""

    share: Annotated[float, Field(description="Share of the answers that are audited.")]
    backends: list[AuditedBackend]
