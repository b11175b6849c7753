"""Answer every failure of a request with an RFC 9457 problem."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import access_errors, errors
from service.access.table import rule_of
from service.errors import slug_of
from service.rest.problems import MEDIA_TYPE, problem, to_problem
from service.rest.query import DetectQuery
from service.rest.service_of import service_of
from service.rest.wire import ParameterFault, Problem
from service.timeline import note_error

_CLIENT_CLOSED_REQUEST = 499  # the caller is gone, so only the metrics show this status


def add_problem_handlers(app: FastAPI) -> None:
    """Make an app answer every failure with a problem, also for unknown routes and errors of FastAPI."""

    app.exception_handlers |= {errors.ServiceError: _on_service_error}
    app.exception_handlers |= {MemoryError: _on_lack, RuntimeError: _on_lack}

    @app.exception_handler(RequestValidationError)
    async def on_invalid_query(request: Request, error: RequestValidationError) -> Response:
        service_of(request).metrics.rejected(slug_of(errors.InvalidParameter))
        faults = [_fault(detail, request) for detail in error.errors()]
        sentence = "; ".join(fault.detail for fault in faults)
        described = problem(
            slug_of(errors.InvalidParameter),
            HTTPStatus.UNPROCESSABLE_ENTITY,
            sentence,
            request.state.request_id,
            faults,
        )
        return _response(described)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status, path = HTTPStatus(error.status_code), request.url.path[:200]
        match status:
            case HTTPStatus.NOT_FOUND:
                return not_found(request)
            case HTTPStatus.METHOD_NOT_ALLOWED:
                allowed = _allowed(request, (error.headers or {}).get("Allow", ""))
                error.headers = {**(error.headers or {}), "Allow": allowed}
                detail = f"{request.method} is not allowed at {path!r}; use {allowed}"
            case _:
                detail = error.detail
        slug = status.phrase.lower().replace(" ", "-")
        return _response(problem(slug, status, detail, request.state.request_id), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def on_hang_up(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> Response:
        # The framework raises the error again after this answer, so the log has its traceback.
        note_error(request.scope["state"], error)
        detail = "the service has a defect; report it with the id of this problem"
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        return _response(problem("internal", status, detail, request.state.request_id))


def not_found(request: Request) -> Response:
    """Return the answer for a path that does not exist."""
    detail = f"there is nothing at {request.url.path[:200]!r}; /openapi.json lists the addresses"
    return _response(problem("not-found", HTTPStatus.NOT_FOUND, detail, request.state.request_id))


async def _on_service_error(request: Request, error: errors.ServiceError) -> Response:
    service_of(request).metrics.rejected(slug_of(type(error)))
    note_error(request.scope["state"], error)
    retry_after_s = getattr(error, "retry_after_s", None)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if isinstance(error, access_errors.Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _response(to_problem(error, request.state.request_id), headers)


async def _on_lack(request: Request, error: Exception) -> Response:
    lack = errors.OutOfResources.of(error)
    if lack is None:
        raise error
    return await _on_service_error(request, lack)


def _response(described: Problem, headers: Mapping[str, str] | None = None) -> Response:
    body = described.model_dump_json(exclude_unset=True)
    return Response(body, described.status, headers, media_type=MEDIA_TYPE)


def _allowed(request: Request, of_one_route: str) -> str:
    """Return the methods of a path; `of_one_route` has the router's answer, which covers only one route."""
    described = request.app.openapi()["paths"].get(rule_of(request.url.path)[0], {})
    methods = {each.upper() for each in described} | {each for each in of_one_route.split(", ") if each}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()))) or "another method"


def _fault(detail: Mapping[str, Any], request: Request) -> ParameterFault:
    name = str(detail["loc"][-1])
    # The routes of detection read their parameters themselves, so only those of other routes are declared.
    route = request.scope.get("route")
    declared = {} if route is None else {each.alias: each.field_info for each in route.dependant.query_params}
    field = declared.get(name) or DetectQuery.model_fields.get(name)
    description = ((field and field.description) or detail["msg"]).rstrip(".")
    return ParameterFault(
        parameter=name, detail=f"{name}={str(detail['input'])[:40]} cannot be used: {description}"
    )
