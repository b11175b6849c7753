"""Write answers for `format=json`, as openapi.json describes them."""

from collections.abc import Sequence

from fastapi import Response

from service.artifact.manifest import Manifest
from service.errors import ServiceError
from service.rest.answer import to_answer
from service.rest.formats.protocol import Outcome
from service.rest.problems import to_problem
from service.rest.wire import Answer, Problem, Results


class JsonFormat:
    """The format json: one answer for one image, or a list of answers and problems for several images."""

    needs_drawing = False

    def check(self, manifest: Manifest) -> None:
        """Do nothing: the JSON format supports every model."""

    def write(self, outcomes: Sequence[Outcome], *, several: bool, moe: str) -> Response:
        """Return a response with the answer for one image, or with a list of the answers for several."""
        parts = [_part(outcome, moe) for outcome in outcomes]
        answer = Results(results=parts) if several else parts[0]
        # Unset fields are left out: `moe` with moe=off, and `probabilities` unless moe=full.
        return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


def _part(outcome: Outcome, moe: str) -> Answer | Problem:
    if isinstance(outcome.found, ServiceError):
        return to_problem(outcome.found, outcome.request_id, outcome.file)
    answer = to_answer(outcome.found, moe=moe)
    if outcome.file is not None:
        answer.file = outcome.file
    return answer
