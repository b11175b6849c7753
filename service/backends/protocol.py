"""Define the interface between the service and a backend, which runs a graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from service.request import RequestContext
from service.types import RawOutputs

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(eq=False)
class RouteTerms:
    """Which routes a backend may run for a request, and which one it ran; only for models with paths."""

    cheaper: tuple[int, ...] = ()  # top_k that may replace the request's if that is too slow, highest first
    top_k: int | None = None  # the value that replaced the request's; None: not replaced
    router_s: float | None = None  # seconds that the router ran; None: the model has no paths


class Job(Protocol[T_co]):
    """The work before and after the graph for one image. Both methods run in the same thread."""

    @property
    def terms(self) -> RouteTerms | None:
        """Return the terms for the route of a model with paths; None: any route runs, however long it takes.

        The backend writes into the terms what it did, before it calls `finish`.
        """
        ...

    def prepare(self) -> Mapping[str, NDArray[Any]]:
        """Return the input arrays by name, one for each row of the manifest's inputs."""
        ...

    def finish(self, outputs: RawOutputs, infer_s: float) -> T_co:
        """Return the result.

        Args:
            outputs: the graph's outputs by their names in the manifest.
            infer_s: seconds that the graph ran, without a router of paths; if it ran on a server, including
                the transfer there and back.
        """
        ...


class Backend(Protocol):
    """One version of one model, ready to run. Use it in the event loop; calls may run at the same time."""

    async def run(self, job: Job[T], context: RequestContext) -> T:
        """Prepare a job, run the graph, and return the job's result.

        If the calling task is cancelled, the backend drops work that has not begun, and stops running work if
        it can.

        Args:
            job: the work before and after the graph; its errors are raised unchanged.
            context: id and deadline of the request.

        Raises:
            BackendBusy: the backend's queue is full.
            BackendUnavailable: the backend cannot run the model now.
            DeadlineExceeded: the result was not ready before the deadline.
            RouteTooSlow: no route that the job's terms allow would end before the deadline.
            BackendFailed: the backend refused this input; it would refuse the same input again.
        """
        ...

    async def close(self) -> None:
        """Free the model. The caller must not call `run` afterwards."""
        ...


class _Prepared:
    """A job whose inputs exist already, and whose result is the graph's outputs."""

    terms = None

    def __init__(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._inputs = inputs

    def prepare(self) -> Mapping[str, NDArray[Any]]:
        return self._inputs

    def finish(self, outputs: RawOutputs, infer_s: float) -> RawOutputs:
        return outputs


async def infer(backend: Backend, inputs: Mapping[str, NDArray[Any]], context: RequestContext) -> RawOutputs:
    """Run a backend's graph on arrays by name; return outputs by name. `Backend.run` lists the errors."""
    return await backend.run(_Prepared(inputs), context)
