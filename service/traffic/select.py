"""Turns the backend a caller asked for into one that this build has."""

from collections.abc import Mapping

from service.backends.protocol import Backend
from service.errors import BackendNotOffered


def select_backend(requested: str, offered: Mapping[str, Backend]) -> tuple[str, Backend]:
    """Return the name and the backend to use; `auto` takes the first that is offered.

    Raises:
        BackendNotOffered: the name is known to the API, and not to this build.
    """
    name = next(iter(offered)) if requested == "auto" else requested
    if name not in offered:
        raise BackendNotOffered(requested, tuple(offered))
    return name, offered[name]
