"""Import the package supervision, which only to_supervision needs."""

from importlib import import_module
from typing import Any

from ..errors import NotInstalled


def supervision() -> Any:
    """Return the module supervision; raise NotInstalled if it is not installed."""
    try:
        return import_module("supervision")
    except ImportError as error:
        raise NotInstalled(f"to_supervision needs supervision ({error}): pip install supervision") from error
