"""The seam between an answer and how it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import Response

from service.artifact.manifest import Manifest
from service.errors import ServiceError
from service.observe.protocol import Answered


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    request_id: str
    found: Answered | ServiceError  # an error only where there are several images


class Format(Protocol):
    """Writes the answer to a request."""

    def check(self, manifest: Manifest) -> None:
        """Do nothing if the answers of this model can be written.

        Raises:
            InvalidParameter: they cannot.
        """
        ...

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return the response.

        Args:
            outcomes: of every image, in the order sent.
            several: a form with several files, which is answered as a list.
            moe: summary, full or off.
        """
        ...
