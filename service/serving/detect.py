"""The service behind every protocol: choose a route, run the stages, tell the observers."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from service.backends.threads import Threads
from service.errors import BackendUnavailable, NotReady, ServiceError
from service.metrics import Metrics
from service.observe.protocol import Answered, Observer
from service.request import DetectParams, RequestContext
from service.serving.models import Models
from service.serving.stages import ImageStages
from service.settings import Settings
from service.tasks.resolve import resolve
from service.traffic.admission import Admission
from service.traffic.routes import ServedVersion
from service.traffic.select import Choice, choose, choose_next

_IMAGES_AT_ONCE = 4  # of one request: enough to fill a server's batch, too few to starve other callers


class DetectService:
    """Answers images. Knows nothing of how they arrived; used from the event loop.

    A caller enters `admit()`, may ask `choose()` which version would answer, and calls `detect()`.
    """

    def __init__(self, settings: Settings, metrics: Metrics, observers: Sequence[Observer]) -> None:
        """Begin without a model; `loading` says why there is none."""
        self.settings = settings
        self.metrics = metrics
        self.models = Models(settings, metrics)
        self.loading = "the models are being loaded"  # why there are no models yet; empty once there are
        self.stopping = False
        self._observers = observers
        self._admission = Admission(settings.max_inflight)
        self._threads = Threads(settings.workers, "detect")

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place for a request while it is received and served.

        Raises:
            Overloaded: every place is taken.
        """
        with self._admission.enter():
            yield

    def choose(self, params: DetectParams) -> ServedVersion:
        """Return the version that would answer now, so that a request can be refused before it is received.

        Raises:
            NotReady, UnknownModel, UnknownVersion, BackendNotOffered, BackendUnavailable: none would.
        """
        return choose(self.ready_models().routes(params.model), params, {}).version

    async def detect(self, data: bytes, params: DetectParams, context: RequestContext) -> Answered:
        """Answer one image file.

        Args:
            data: its bytes.
            params: what is asked for.
            context: for whom, and until when.

        Raises:
            NotReady, UnknownModel, UnknownVersion, BackendNotOffered: nobody can answer.
            InvalidParameter: the version that is in force cannot do what is asked for.
            EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: the caller's bytes.
            BackendBusy, BackendUnavailable, BackendFailed: no backend answered.
            DeadlineExceeded: none did in time.
        """
        routes = self.ready_models().routes(params.model)
        image = ImageStages(data, self.settings.max_pixels)
        failed: dict[str, BackendUnavailable] = {}  # backends that could not answer this image, and why
        choice = choose(routes, params, failed)
        while True:
            try:
                answered = await self._attempt(choice, image, params, context)
                break
            except BackendUnavailable as error:
                # Only this error sends the image to the next backend: one that is busy is well, and a passed
                # deadline or a refused input would be no better elsewhere.
                following = await choose_next(choice, error, routes, params, failed, context)
                if following.route is not choice.route:
                    self.metrics.failed_over(choice.route.backend_name)
                choice = following
        for observer in self._observers:
            observer.answered(answered)
        return answered

    async def detect_all(
        self, images: Sequence[bytes], params: DetectParams, contexts: Sequence[RequestContext]
    ) -> list[Answered | ServiceError]:
        """Answer several images of one request, a few at once; give an answer or an error for each, in order.

        Args:
            images: their bytes.
            params: what is asked for, of all of them.
            contexts: one for each image.
        """
        room = asyncio.Semaphore(_IMAGES_AT_ONCE)

        async def one(data: bytes, context: RequestContext) -> Answered | ServiceError:
            async with room:
                try:
                    return await self.detect(data, params, context)
                except ServiceError as error:
                    for observer in self._observers:
                        observer.refused(error, context)
                    return error

        async with asyncio.TaskGroup() as group:
            pairs = zip(images, contexts, strict=True)
            tasks = [group.create_task(one(data, context)) for data, context in pairs]
        return [task.result() for task in tasks]

    async def _attempt(
        self, choice: Choice, image: ImageStages, params: DetectParams, context: RequestContext
    ) -> Answered:
        """Run every stage on the route that was chosen: decode and preprocess, infer, postprocess."""
        version, manifest = choice.version, choice.version.manifest
        resolved = resolve(params, manifest)
        prepare = partial(image.decode_and_preprocess, manifest.images, queued_at=perf_counter())
        placed = await self._threads.run(context, prepare)
        sent = perf_counter()
        inputs = manifest.feed(placed.canvas, resolved.controls)
        outputs, wait_s = await choice.route.infer(version, inputs, context, movable=choice.movable)
        image.infer_s = perf_counter() - sent - wait_s
        image.queue_s += wait_s
        postprocess = partial(image.postprocess, outputs, manifest, resolved, placed)
        result, experts, compute, timings = await self._threads.run(context, postprocess)
        return Answered(
            version=version,
            reason=choice.reason,
            context=context,
            params=resolved,
            image_hw=placed.source_hw,
            result=result,
            experts=experts,
            compute=compute,
            timings=timings,
        )

    def ready_models(self) -> Models:
        """Return the models. Some backend knew the default one at least once; it may be unwell by now.

        Raises:
            NotReady: they are not loaded yet, or could not be.
        """
        if self.loading:
            raise NotReady(self.loading)
        return self.models

    def check_ready(self) -> None:
        """Do nothing if requests are welcome.

        Raises:
            NotReady: no backend can serve the default model, or the service is stopping.
        """
        why = self.ready_models().why_not_ready()
        if why is not None:
            raise NotReady(why)
        if self.stopping:
            raise NotReady("it is stopping")

    async def close(self) -> None:
        """Wait for the stages that have begun; nothing may be asked afterwards."""
        self.stopping = True
        await asyncio.to_thread(self._threads.close)
