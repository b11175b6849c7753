"""Write the answers to refused requests at little cost, because a flood consists mostly of them."""

import json

from service.access_errors import Unauthorized
from service.errors import ServiceError, slug_of
from service.rest.problems import MEDIA_TYPE, STATUS, problem

REFUSALS = {401, 403, 429}
"""The statuses with which the service refuses callers: no access, or too many requests."""

RawHeaders = list[tuple[bytes, bytes]]
"""Headers of a request or an answer, in the form that the server uses."""


class Refusal:
    """A writer of the answers for one class of error."""

    def __init__(self, error: type[ServiceError]) -> None:
        """Prepare the parts that are the same in all answers."""
        self.status, self.slug = int(STATUS[error]), slug_of(error)
        # What is around the sentence and the id: a new problem for each refusal takes three times as long.
        around = problem(self.slug, STATUS[error], "?", "!").model_dump_json(exclude_unset=True)
        before, rest = around.split('"?"')
        self._problem = (before, *rest.split("!"))

    def answer(self, error: ServiceError, request_id: str) -> tuple[RawHeaders, bytes]:
        """Return the headers that only this answer needs, and its body."""
        before, between, after = self._problem
        body = f"{before}{json.dumps(str(error))}{between}{request_id}{after}".encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        if isinstance(error, Unauthorized):
            headers.append((b"www-authenticate", b"Bearer"))
        retry_after_s: int | None = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            headers.append((b"retry-after", str(retry_after_s).encode()))
        return headers, body
