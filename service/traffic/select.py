"""Which route a request takes: the preferred one that is well, and the next if it fails."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.errors import BackendNotOffered, BackendUnavailable, UnknownVersion
from service.request import DetectParams, RequestContext
from service.traffic.routes import Route, ServedVersion

_RENEW_S = 1.0  # a request waits this long for the versions of a backend to be read again


@dataclass(frozen=True)
class Choice:
    """Where one attempt goes."""

    route: Route
    version: ServedVersion
    reason: str  # "preferred", "requested", or the sentence that says why a preferred backend is not used
    movable: bool  # another backend could do it as well
    renewed: bool = False  # the route dropped the version that was chosen first, and has this one now


def choose(
    routes: Mapping[str, Route], params: DetectParams, failed: Mapping[str, BackendUnavailable]
) -> Choice:
    """Return the best place to try now.

    Args:
        routes: of one model by backend, preferred first.
        params: as asked; backend `auto` may be answered by any.
        failed: backends that have just failed this request, and how.

    Raises:
        BackendNotOffered: the name is known to the API, and not to this service.
        UnknownVersion: no backend that may answer serves this version.
        BackendUnavailable: nobody is left; says what is wrong with each.
    """
    if params.backend not in ("auto", *routes):
        raise BackendNotOffered(params.backend, tuple(routes))
    candidates = [route for name, route in routes.items() if params.backend in ("auto", name)]
    passed_over: list[str] = []
    strange: list[UnknownVersion] = []
    for i, route in enumerate(candidates):
        try:
            version = route.get(params.version)  # first: what it served when it failed may be gone for good
            if route.backend_name in failed:
                raise failed[route.backend_name]
            route.check_open()
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
    """Return where a request goes after `choice` failed; add its backend to `failed` if that is elsewhere.

    The same route once more, if it says that it just dropped the version and did nothing. Else the next.

    Raises:
        BackendUnavailable: nobody is left; what went wrong last.
        UnknownVersion: the version is gone, and served nowhere else.
        DeadlineExceeded: there is no time left.
    """
    route = choice.route
    if error.not_run and not choice.renewed and await route.renew_within(min(_RENEW_S, context.left_s())):
        try:
            return replace(choice, version=route.get(params.version), renewed=True)
        except UnknownVersion:
            pass  # no longer here; another backend may serve it
        except BackendUnavailable as gone:
            error = gone
    failed[route.backend_name] = error
    try:
        return choose(routes, params, failed)
    except BackendUnavailable:
        raise error from None


def _serves(route: Route, params: DetectParams) -> bool:
    return route.healthy and (params.version is None or params.version in route.versions)
