"""Define the routes about audits: the evidence, and the release of a backend from quarantine."""

from typing import Any, get_args

from fastapi import APIRouter, Request

from service.audits.auditor import Auditor
from service.audits.decision import ALARM
from service.audits.record import Record
from service.expert_metrics import AuditOutcome
from service.rest.admin import check_admin
from service.rest.describe import PROBLEMS, RELOAD
from service.rest.service_of import service_of
from service.rest.wire_audits import (
    AuditDifference,
    AuditDisagreement,
    AuditedBackend,
    AuditReference,
    AuditReport,
    AuditSuspect,
)

router = APIRouter(tags=["operation"])

_ADMINS: dict[int | str, dict[str, Any]] = {code: RELOAD[code] for code in (401, 403)}
_RELEASE: dict[int | str, dict[str, Any]] = {code: PROBLEMS[code] for code in (404, 422, 503)}
_DIGITS = 4


@router.get("/audits", responses=_ADMINS, summary="Which backends agree with the reference?")
async def audits_route(request: Request) -> AuditReport:
    """Return the audits of every backend, with the evidence. Needs the administrator's token or key."""
    check_admin(request, service_of(request).settings)
    auditor = _auditor_of(request)
    return AuditReport(share=auditor.share, backends=[_backend(auditor, one) for one in auditor.records])


@router.post(
    "/audits/release",
    responses=_ADMINS | _RELEASE,
    summary="End the quarantine of a model's backend. Needs the administrator's token.",
)
async def release_route(request: Request, model: str, backend: str) -> AuditReport:
    """Send requests to the backend again, and audit it from the beginning; return the other audits."""
    check_admin(request, service_of(request).settings)
    service_of(request).ready_models()
    _auditor_of(request).release(model, backend)
    return await audits_route(request)


def _auditor_of(request: Request) -> Auditor:
    auditor = request.app.state.auditor
    assert isinstance(auditor, Auditor)
    return auditor


def _backend(auditor: Auditor, record: Record) -> AuditedBackend:
    trial, manifest = record.trial, record.manifest
    decided = "quarantined" if auditor.quarantines else "disagrees"
    return AuditedBackend(
        model=manifest.name,
        version=manifest.version,
        backend=record.backend,
        sha256=record.sha256,
        state=decided if record.decided else "auditing",  # type: ignore[arg-type]
        reference=_reference(auditor, record),
        outcomes={outcome: record.outcomes[outcome] for outcome in get_args(AuditOutcome)},
        why=record.why,
        counted=0 if trial is None else trial.all.images,
        disagreeing=0 if trial is None else trial.all.disagreeing,
        allowed_share=None if trial is None else round(trial.allowed, _DIGITS),
        evidence=0.0 if trial is None else round(trial.value, _DIGITS),
        alarm=ALARM,
        suspects=[AuditSuspect(**vars(one)) for one in (trial.suspects() if trial else ())],
        disagreements=[
            AuditDisagreement(
                id=one.request_id,
                at=one.at,
                counted=one.counted,
                differences=[AuditDifference(**vars(each)) for each in one.differences],
            )
            for one in reversed(record.disagreements)
        ],
    )


def _reference(auditor: Auditor, record: Record) -> AuditReference | None:
    reference = auditor.reference_of(record)
    if reference is None:
        return None
    candidate = reference.candidate
    return AuditReference(
        engine=candidate.engine,
        target=candidate.manifest.target,
        version=candidate.manifest.version,
        precision=candidate.manifest.precision,
        sha256=candidate.sha256,
        same_files=reference.has_weights_of(record.manifest),
    )
