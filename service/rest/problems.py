"""Errors to RFC 9457 problems: the one place that knows which failure has which status."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import errors
from service.errors import slug_of
from service.rest.query import DetectQuery
from service.rest.service_of import service_of
from service.rest.wire import ParameterFault, Problem

MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:sparsight:problem:"
_CLIENT_CLOSED_REQUEST = 499  # nobody reads the answer; the number is for the metrics

STATUS: Mapping[type[errors.ServiceError], HTTPStatus] = {
    errors.MalformedForm: HTTPStatus.BAD_REQUEST,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.UnknownVersion: HTTPStatus.NOT_FOUND,
    errors.BodyTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.EmptyImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UndecodableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidParameter: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BackendNotOffered: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.BackendBusy: HTTPStatus.TOO_MANY_REQUESTS,
    errors.BackendFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
}

BACKEND_ERRORS = (
    errors.BackendBusy,
    errors.BackendFailed,
    errors.BackendUnavailable,
    errors.DeadlineExceeded,
)
"""What is counted by backend as well, in sparsight_backend_errors_total."""


def to_problem(error: errors.ServiceError, request_id: str) -> Problem:
    """Describe a failure of the service."""
    status = STATUS[type(error)]
    problem = _problem(slug_of(type(error)), status, str(error), request_id)
    if isinstance(error, errors.InvalidParameter):
        problem.errors = [ParameterFault(parameter=error.parameter, detail=str(error))]
    return problem


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every failure with a problem, FastAPI's own and unknown routes included."""

    @app.exception_handler(errors.ServiceError)
    async def on_service_error(request: Request, error: errors.ServiceError) -> Response:
        service_of(request).metrics.rejected(slug_of(type(error)))
        retry_after_s = getattr(error, "retry_after_s", None)
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        return _response(to_problem(error, request.state.request_id), headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_query(request: Request, error: RequestValidationError) -> Response:
        service_of(request).metrics.rejected(slug_of(errors.InvalidParameter))
        faults = [_fault(detail) for detail in error.errors()]
        sentence = "; ".join(fault.detail for fault in faults)
        problem = _problem(
            slug_of(errors.InvalidParameter),
            HTTPStatus.UNPROCESSABLE_ENTITY,
            sentence,
            request.state.request_id,
            faults,
        )
        return _response(problem)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        match status:
            case HTTPStatus.NOT_FOUND:
                detail = f"there is nothing at {request.url.path!r}; see /openapi.json for what there is"
            case HTTPStatus.METHOD_NOT_ALLOWED:
                allowed = (error.headers or {}).get("Allow", "another method")
                detail = f"{request.method} is not allowed at {request.url.path!r}; use {allowed}"
            case _:
                detail = error.detail
        slug = status.phrase.lower().replace(" ", "-")
        return _response(_problem(slug, status, detail, request.state.request_id), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def on_hang_up(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> Response:
        # The framework raises it again after this answer, so that it is logged with its traceback.
        detail = "the service has a defect; report it with this id"
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        return _response(_problem("internal", status, detail, request.state.request_id))


def _problem(
    slug: str, status: HTTPStatus, detail: str, request_id: str, faults: Sequence[ParameterFault] = ()
) -> Problem:
    problem = Problem(
        type=_TYPE_PREFIX + slug, title=status.phrase, status=status, detail=detail, id=request_id
    )
    if faults:
        problem.errors = list(faults)
    return problem


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    body = problem.model_dump_json(exclude_unset=True)
    return Response(body, problem.status, headers, media_type=MEDIA_TYPE)


def _fault(detail: Mapping[str, Any]) -> ParameterFault:
    name = str(detail["loc"][-1])
    description = (DetectQuery.model_fields[name].description or detail["msg"]).rstrip(".")
    return ParameterFault(
        parameter=name, detail=f"{name}={str(detail['input'])[:40]} cannot be used: {description}"
    )
