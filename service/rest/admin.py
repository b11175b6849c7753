"""Check that a request may change what the service does.

A token decides, not the caller's address, because behind a proxy every request comes from a local address.
"""

import secrets

from fastapi import Request

from service.access_errors import AdminOff, Unauthorized
from service.rest.middleware.access import caller_of
from service.settings import Settings


def check_admin(request: Request, settings: Settings) -> None:
    """Check that a request has a key with the scope admin, or the token as `Authorization: Bearer TOKEN`.

    Raises:
        AdminOff: no token is set, so nobody is an administrator.
        Unauthorized: the token is missing or wrong.
    """
    caller = caller_of(request.scope)
    if caller is not None and "admin" in caller.scopes:
        return
    if settings.admin_token is None:
        raise AdminOff
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    wanted = settings.admin_token.get_secret_value()
    if scheme.lower() != "bearer" or not secrets.compare_digest(token.strip().encode(), wanted.encode()):
        raise Unauthorized(
            "send the value of SPARSIGHT_ADMIN_TOKEN, as in: Authorization: Bearer TOKEN", "admin-token"
        )
