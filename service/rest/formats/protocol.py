"""Define the interface of an answer format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import Response

from service.artifact.manifest import Manifest
from service.errors import ServiceError
from service.observe.protocol import Answered


@dataclass(frozen=True)
class Outcome:
    """The result for one image: an answer or an error."""

    request_id: str
    file: str | None  # name of the image's file in a form; None for a raw body
    found: Answered | ServiceError  # always an answer unless the answer is a list
    drawing: bytes | None = None  # the image as JPEG, with its answer drawn into it; for formats that need it


class Format(Protocol):
    """A format in which answers are written."""

    needs_drawing: bool
    """Whether the format draws the predictions into the image; such a request has one image only."""

    def check(self, manifest: Manifest) -> None:
        """Check that this format supports the answers of a model.

        Raises:
            InvalidParameter: the format does not support the model's task.
        """
        ...

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return the HTTP response for the images of a request.

        Args:
            outcomes: the result for each image, in the order sent.
            several: whether the answer is a list, because there are several files or the caller wants one.
            moe: how much to report about the experts: summary, full or off.
        """
        ...
