"""Run one version of one model on a Triton server over gRPC."""

from typing import TypeVar

from service.artifact.manifest import Manifest
from service.backends.contract import check_batch
from service.backends.protocol import Job
from service.backends.threads import Threads
from service.backends.triton.channel import TritonChannel
from service.backends.triton.memory import SharedImages
from service.backends.triton.one_model import OneModel
from service.backends.triton.path_models import PathModels
from service.backends.triton.sender import Sender
from service.request import RequestContext

T = TypeVar("T")


class TritonBackend:
    """One version of one model on Triton. The caller owns the channel, the memory and the threads."""

    def __init__(
        self, channel: TritonChannel, memory: SharedImages | None, threads: Threads, manifest: Manifest
    ) -> None:
        """Prepare to run a version on a server.

        Args:
            channel: gRPC channel to the server.
            memory: shared memory for the images; None to send images in the gRPC message.
            threads: threads in which jobs are prepared and finished.
            manifest: manifest of the version.

        Raises:
            ArtifactBroken: the model has several graphs, but no paths.
        """
        sender = Sender(channel, memory, manifest)
        self._threads = threads
        self._manifest = manifest
        self.models = OneModel(sender, manifest) if manifest.paths is None else PathModels(sender, manifest)

    async def run(self, job: Job[T], context: RequestContext) -> T:
        """Run a job, with its graph on the server, and return the job's result; outputs are read-only.

        Raises:
            BackendBusy, BackendUnavailable, DeadlineExceeded, BackendFailed: see `status.TABLE`.
            RouteTooSlow: see `RouteChoice.fit`.
        """
        inputs = await self._threads.run(context, job.prepare)
        check_batch(self._manifest, inputs)
        outputs, infer_s = await self.models.infer(inputs, job.terms, context)
        return await self._threads.run(context, lambda: job.finish(outputs, infer_s))

    async def close(self) -> None:
        """Do nothing, because the caller owns the channel, the memory and the threads, and closes them."""
