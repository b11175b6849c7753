"""The seam between the service and whatever runs a graph."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from service.request import RequestContext


class Backend(Protocol):
    """Runs one version of one model. Used from the event loop; many calls may be under way at once."""

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], context: RequestContext
    ) -> Mapping[str, NDArray[Any]]:
        """Run a graph; return the manifest's outputs by name.

        Cancelling the task ends the work if it can be ended, and never starts it if it has not begun.

        Args:
            inputs: by name, one for each row of the manifest's inputs.
            context: for whom, and until when.

        Raises:
            BackendBusy: too much is waiting already.
            BackendUnavailable: the model cannot be run here now.
            DeadlineExceeded: there was no answer in time.
            BackendFailed: the model rejected this input; retrying will not help.
        """
        ...

    async def close(self) -> None:
        """Free the model. Nothing may be inferred afterwards."""
        ...
