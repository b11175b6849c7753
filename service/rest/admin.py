"""Check the administrator's token of a request.

The token, not the caller's address, decides: behind a proxy, every request comes from a local address.
"""

import secrets

from fastapi import Request

from service.errors import AdminOff, Unauthorized
from service.settings import Settings


def check_admin(request: Request, settings: Settings) -> None:
    """Check that a request has the administrator's token, as `Authorization: Bearer TOKEN`.

    Raises:
        AdminOff: no token is set, so nobody is an administrator.
        Unauthorized: the token is missing or wrong.
    """
    if settings.admin_token is None:
        raise AdminOff
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    wanted = settings.admin_token.get_secret_value()
    if scheme.lower() != "bearer" or not secrets.compare_digest(token.strip().encode(), wanted.encode()):
        raise Unauthorized
