"""`format=json`: the answer that openapi.json describes."""

from collections.abc import Sequence

from fastapi import Response

from service.artifact.manifest import Manifest
from service.errors import ServiceError
from service.rest.answer import to_answer
from service.rest.formats.protocol import Outcome
from service.rest.problems import to_problem
from service.rest.wire import Answer, Problem, Results


class JsonFormat:
    """One answer, or a list of answers and problems."""

    def check(self, manifest: Manifest) -> None:
        """Do nothing: every answer can be written."""

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return the answer to one image, or those to several."""
        parts = [_part(outcome, moe) for outcome in outcomes]
        answer = Results(results=parts) if several else parts[0]
        # Unset is left out: no `moe` with moe=off, no `probabilities` without moe=full.
        return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


def _part(outcome: Outcome, moe: str) -> Answer | Problem:
    if isinstance(outcome.found, ServiceError):
        return to_problem(outcome.found, outcome.request_id)
    return to_answer(outcome.found, moe=moe)
