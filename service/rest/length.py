"""Read Content-Length."""

from starlette.datastructures import Headers


def announced_bytes(headers: Headers) -> int | None:
    """Return how many bytes a request's head announces for its body; None if it announces no number.

    The server has checked that it is a number. But zeros may stand before it, by the thousand, and Python
    reads no number with more than 4300 digits.
    """
    value = headers.get("content-length")
    return None if value is None else int(value.strip().lstrip("0") or 0)
