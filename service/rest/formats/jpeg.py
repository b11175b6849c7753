"""Write answers for `format=jpeg`: the image itself, with the predictions drawn into it."""

from collections.abc import Sequence

from fastapi import Response

from service.artifact.manifest import Manifest
from service.rest.formats.protocol import Outcome


class JpegFormat:
    """The format jpeg: the image, upright and at its own size, with the predictions drawn into it."""

    needs_drawing = True

    def check(self, manifest: Manifest) -> None:
        """Do nothing: the answers of every model can be drawn."""

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return a response with the drawing of the only image."""
        (outcome,) = outcomes
        return Response(outcome.drawing, media_type="image/jpeg")
