"""Define the errors about who may use the service, and how often."""

import math

from service.errors import ServiceError


class AdminOff(ServiceError):
    """The routes for administrators are switched off."""

    def __init__(self) -> None:
        super().__init__(
            "this address is for administrators, and SPARSIGHT_ADMIN_TOKEN is not set; set it and start the"
            " service again. To load new models, a SIGHUP to the process is enough"
        )


class Unauthorized(ServiceError):
    """The request has no valid key or token.

    Args:
        sentence: the message for the caller.
        why: the reason in one word, for the operator's log: missing, unclear, unknown, expired, revoked, …
        key: name and id of the key, if the key is known but no longer valid.
    """

    def __init__(self, sentence: str, why: str, key: tuple[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.why = why
        self.key = key


class Forbidden(ServiceError):
    """The key of the request is valid, but its scopes do not allow the use of the path."""

    why = "scope"

    def __init__(self, route: str | None, scope: str, key: tuple[str, str]) -> None:
        super().__init__(
            f"this key may not use {route}; use one that has the scope {scope!r}"
            if route
            else "there is no such address, or this key may not use it; /openapi.json lists the addresses"
        )
        self.key = key


class RateExceeded(ServiceError):
    """The key of the request has already used its allowed number of requests in one second."""

    why = "rate"

    def __init__(self, rate: int, until_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(until_s))
        super().__init__(
            f"this key may send {rate:,} requests in a second; try again in {self.retry_after_s} s"
        )


class QuotaExceeded(ServiceError):
    """The key of the request has too few of its allowed requests left on this day.

    Args:
        quota: requests that the key may send on a day.
        until_s: seconds until the next day begins.
        count: number of requests that this request counts as.
    """

    why = "quota"

    def __init__(self, quota: int, until_s: float, count: int = 1) -> None:
        self.retry_after_s = max(1, math.ceil(until_s))
        counts = "" if count == 1 else f", and this one counts as up to {count:,}"
        super().__init__(
            f"this key may send {quota:,} requests a day{counts}; the next day begins at midnight UTC,"
            f" in {self.retry_after_s} s"
        )


ACCESS_ERRORS = (Unauthorized, Forbidden, RateExceeded, QuotaExceeded)
"""The errors for a caller that may not use the service, or not now."""
