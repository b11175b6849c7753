"""Turn errors into RFC 9457 problems; only this module maps errors to HTTP statuses."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from service import access_errors, errors
from service.errors import slug_of
from service.rest.wire import ParameterFault, Problem

MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:sparsight:problem:"

STATUS: Mapping[type[errors.ServiceError], HTTPStatus] = {
    errors.MalformedForm: HTTPStatus.BAD_REQUEST,
    access_errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    access_errors.AdminOff: HTTPStatus.FORBIDDEN,
    access_errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.UnknownVersion: HTTPStatus.NOT_FOUND,
    errors.NoExample: HTTPStatus.NOT_FOUND,
    errors.NoReport: HTTPStatus.NOT_FOUND,
    errors.NovelOff: HTTPStatus.NOT_FOUND,
    errors.UnknownImage: HTTPStatus.NOT_FOUND,
    errors.BodyTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.ReloadIncomplete: HTTPStatus.CONFLICT,
    errors.NotDeleted: HTTPStatus.CONFLICT,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.FormTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.FetchTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.EmptyImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UndecodableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FetchOff: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FetchRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    # Not a 502: balancers count those, and would take this service for broken because of a caller's URL.
    errors.FetchFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidParameter: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BackendNotOffered: HTTPStatus.UNPROCESSABLE_ENTITY,
    access_errors.RateExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    access_errors.QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.BackendBusy: HTTPStatus.TOO_MANY_REQUESTS,
    errors.BackendFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutOfResources: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.ExplanationTooSlow: HTTPStatus.GATEWAY_TIMEOUT,
    errors.RouteTooSlow: HTTPStatus.GATEWAY_TIMEOUT,
}


def to_problem(error: errors.ServiceError, request_id: str, file: str | None = None) -> Problem:
    """Return the problem for an error of the service; `file` names the image's file in a form."""
    status = STATUS[type(error)]
    found = problem(slug_of(type(error)), status, str(error), request_id)
    if isinstance(error, errors.InvalidParameter):
        found.errors = [ParameterFault(parameter=error.parameter, detail=str(error))]
    if file is not None:
        found.file = file
    return found


def problem(
    slug: str, status: HTTPStatus, detail: str, request_id: str, faults: Sequence[ParameterFault] = ()
) -> Problem:
    """Return a problem; `slug` is the last part of its type, and `detail` says what to do."""
    detail = detail.encode(errors="replace").decode()  # may quote half a surrogate pair, which JSON can hold
    found = Problem(
        type=_TYPE_PREFIX + slug, title=status.phrase, status=status, detail=detail, id=request_id
    )
    if faults:
        found.errors = list(faults)
    return found
