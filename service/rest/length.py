"""Read the header Content-Length."""

from starlette.datastructures import Headers


def announced_bytes(headers: Headers) -> int | None:
    """Return the number of body bytes that a request's head announces; None if it announces no number.

    The server has already checked that the value is a number. But it may begin with thousands of zeros, and
    Python reads no number with more than 4300 digits.
    """
    value = headers.get("content-length")
    return None if value is None else int(value.strip().lstrip("0") or 0)
