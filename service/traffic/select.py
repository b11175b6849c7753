"""Choose the route of a request: the first healthy route by preference, or the next after a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.errors import BackendNotOffered, BackendUnavailable, UnknownVersion
from service.request import DetectParams, RequestContext
from service.traffic.routes import Route, ServedVersion

_RENEW_S = 1.0  # longest wait of a request until a backend's versions are read again


@dataclass(frozen=True)
class Choice:
    """The route and the version for one attempt at a request."""

    route: Route
    version: ServedVersion
    reason: str  # "preferred", "requested", or the sentence that says why a preferred backend is not used
    movable: bool  # whether another backend could also run the request
    renewed: bool = False  # whether the route replaced its versions after the first attempt there


def choose(
    routes: Mapping[str, Route], params: DetectParams, failed: Mapping[str, BackendUnavailable]
) -> Choice:
    """Return the best route and version for the next attempt.

    Args:
        routes: routes of one model by backend, preferred first.
        params: parameters of the request; with backend `auto`, any backend may answer.
        failed: errors of the backends that have already failed this request, by backend.

    Raises:
        BackendNotOffered: the requested backend is not configured.
        UnknownVersion: no backend that `params` allows serves the requested version.
        BackendUnavailable: no backend that `params` allows is usable; the message gives the reasons.
    """
    if params.backend not in ("auto", *routes):
        raise BackendNotOffered(params.backend, tuple(routes))
    candidates = [route for name, route in routes.items() if params.backend in ("auto", name)]
    passed_over: list[str] = []
    strange: list[UnknownVersion] = []
    for i, route in enumerate(candidates):
        try:
            version = route.get(params.version)  # checked first: the version may be gone since a failure
            if route.backend_name in failed:
                raise failed[route.backend_name]
            route.check_open(version)
        except UnknownVersion as error:
            strange.append(error)
        except BackendUnavailable as error:
            passed_over.append(str(error))
        else:
            usual = "preferred" if params.backend == "auto" else "requested"
            reason = passed_over[0] if passed_over else usual
            return Choice(route, version, reason, any(_serves(one, params) for one in candidates[i + 1 :]))
    if strange and not passed_over:
        raise strange[0]
    raise BackendUnavailable("; ".join(passed_over))


async def choose_next(
    choice: Choice,
    error: BackendUnavailable,
    routes: Mapping[str, Route],
    params: DetectParams,
    failed: dict[str, BackendUnavailable],
    context: RequestContext,
) -> Choice:
    """Return the route and version to try next; the attempt with `choice` has failed with `error`.

    If the backend answered that it does not have the version, the function reads the backend's list of
    versions again. If the backend then serves the requested version, the function returns the same route, but
    at most once for each choice. In all other cases, it adds the backend to `failed` and returns the next
    route.

    Raises:
        BackendUnavailable: no backend is left; the error of the last attempt is raised.
        UnknownVersion: no other backend serves the requested version.
        DeadlineExceeded: the deadline has passed.
    """
    route = choice.route
    if error.not_run and not choice.renewed and await route.renew_within(min(_RENEW_S, context.left_s())):
        try:
            return replace(choice, version=route.get(params.version), renewed=True)
        except UnknownVersion:
            pass  # the version is gone here; another backend may serve it
        except BackendUnavailable as gone:
            error = gone
    failed[route.backend_name] = error
    try:
        return choose(routes, params, failed)
    except BackendUnavailable:
        raise error from None


def _serves(route: Route, params: DetectParams) -> bool:
    version = route.current if params.version is None else route.versions.get(params.version)
    return version is not None and not route.why_closed(version)
