"""Define the interface between the service and a backend, which runs a graph."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from service.request import RequestContext


class Backend(Protocol):
    """Runs one version of one model. Call it from the event loop; several calls may run at the same time."""

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], context: RequestContext
    ) -> Mapping[str, NDArray[Any]]:
        """Run the graph; return the outputs by their names in the manifest.

        If the calling task is cancelled, work that has not begun is dropped, and running work is stopped if
        the backend can stop it.

        Args:
            inputs: the input arrays by name, one for each row of the manifest's inputs.
            context: id and deadline of the request.

        Raises:
            BackendBusy: the backend's queue is full.
            BackendUnavailable: the backend cannot run the model now.
            DeadlineExceeded: the answer did not arrive before the deadline.
            BackendFailed: the backend refused this input; it would refuse the same input again.
        """
        ...

    async def close(self) -> None:
        """Free the model. The caller must not call `infer` afterwards."""
        ...
