"""Predict objects or classes for images: choose a route, run the stages, notify the observers."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import numpy as np

from service.backends.protocol import RouteTerms
from service.backends.threads import Threads
from service.errors import BackendUnavailable, InvalidParameter, NotReady, Overloaded, ServiceError
from service.explain.runner import Subject, explain
from service.metrics import Metrics
from service.observe.observers import Observers
from service.observe.protocol import Answered, Observer
from service.pipeline.decode import decode
from service.pipeline.encode import JPEG_MAX_PX, to_jpeg, to_preview
from service.request import DetectParams, Priority, RequestContext
from service.serving.local_models import Changes
from service.serving.models import Models
from service.serving.open import Reload
from service.serving.stages import Attempt, ImageStages
from service.settings import Settings
from service.tasks.drawing import draw
from service.tasks.resolve import resolve
from service.timeline import begin
from service.traffic.admission import Admission, check_wait
from service.traffic.routes import ServedVersion
from service.traffic.select import Choice, choose, choose_next
from service.traffic.turns import Lane
from service.types import RoutingVerdict

_IMAGES_AT_ONCE = 4  # images of one request at once: enough for a server's batch, without delaying others


class DetectService:
    """The service that predicts objects or classes for images, independent of the protocol of the requests.

    All methods must be called from the event loop.

    For each request, the caller enters `admit()` before it reads the body, and calls `check_wait()`. It then
    calls `detect()`, or `detect_all()` for several images. `choose()` tells which version would answer.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        observers: Sequence[Observer],
        judge: Callable[[ServedVersion], RoutingVerdict] = lambda version: RoutingVerdict("normal"),
    ) -> None:
        """Create the service without models; until they are loaded, `loading` says why there are none.

        Args:
            settings: settings of the service.
            metrics: the service's metrics.
            observers: are notified about every image.
            judge: returns whether the images that a version answered are routed as in its baseline.
        """
        self.settings = settings
        self.metrics = metrics
        self.models = Models(settings, metrics)
        self.loading = "the models are being loaded"  # why there are no models; empty once they are loaded
        self.stopping = False
        self.read_again: Reload | None = None  # set while the models are open
        self._observers = Observers(observers)
        self._judge = judge
        self._admission = Admission(settings.max_inflight, settings.max_inflight_bytes)
        self._explaining = False
        self._threads = Threads(settings.workers + 1, "detect")

    def admit(self, size_bytes: int = 0) -> AbstractContextManager[None]:
        """Count a request with a body of `size_bytes` bytes as in flight while it is received and served.

        Raises:
            Overloaded: too many requests or bytes are already in flight.
        """
        return self._admission.enter(size_bytes)

    def admit_more(self, size_bytes: int) -> AbstractContextManager[Callable[[int], None]]:
        """Count more bytes for an admitted request whose images are fetched by URL; see `Admission.grow`.

        Raises:
            Overloaded: too many bytes are already in flight.
        """
        return self._admission.grow(size_bytes)

    def check_wait(
        self, params: DetectParams, size_bytes: int, priority: Priority, allowed_s: float | None = None
    ) -> None:
        """Check that an image would be answered in time if it arrived now.

        If no version of a model could answer, do nothing, because `choose` raises a more precise error.

        Args:
            params: parameters of the request.
            size_bytes: size of the image file.
            priority: priority of the request.
            allowed_s: seconds for the answer; None for the service's own time limit.

        Raises:
            Overloaded: the image would wait too long for its turn.
        """
        if self.loading:
            return
        try:
            route = choose(self.models.routes(params.model), params, {}).route
        except ServiceError:
            return
        lane = Lane.of(priority, route.model, size_bytes)
        wait_s = route.turns.predict_wait_s(lane)
        allowed_s = self.settings.timeout_s if allowed_s is None else allowed_s
        check_wait(wait_s, route.turns.mean_s(lane), self.settings.max_queue_s, allowed_s)

    def choose(self, params: DetectParams) -> ServedVersion:
        """Return the version that would answer now, to check a request before its body is received.

        Raises:
            NotReady, UnknownModel, UnknownVersion, BackendNotOffered, BackendUnavailable: no version
                would answer; the error gives the reason.
        """
        return choose(self.ready_models().routes(params.model), params, {}).version

    async def detect(self, data: bytes, params: DetectParams, context: RequestContext) -> Answered:
        """Return the answer for one image file; if a backend is unavailable, try the next one.

        Args:
            data: bytes of the image file.
            params: parameters of the request.
            context: id and deadline of the request.

        Raises:
            NotReady, UnknownModel, UnknownVersion, BackendNotOffered: no backend serves what is requested.
            InvalidParameter: the chosen version does not accept a parameter.
            Overloaded: the image would wait too long for its turn.
            EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: the image cannot be decoded.
            BackendBusy, BackendUnavailable, BackendFailed: no backend answered.
            DeadlineExceeded: the answer was not complete before the deadline.
            RouteTooSlow: the answer would not be complete before the deadline.
            ExplanationTooSlow: the time is too short for the explanation that `params` asks for.
        """
        # Again, as at the door: many bodies may have been received at the same time.
        self.check_wait(params, len(data), context.priority, context.left_s())
        if params.explain == "off":
            return await self._answer(data, params, context)
        with self._explain_alone():
            return await self._answer(data, params, context)

    def check_explain(self) -> None:
        """Check that a request could get an explanation now.

        Raises:
            InvalidParameter: the operator has not allowed explanations.
            Overloaded: another request is being explained.
        """
        if not self.settings.explain:
            why = "an explanation takes the computing of more than a hundred images"
            allow = "ask the operator to set SPARSIGHT_EXPLAIN=true"
            raise InvalidParameter("explain", f"explain=route is off here, because {why}; {allow}")
        if self._explaining:
            raise Overloaded("another request is being explained, and one is explained at a time")

    @contextmanager
    def _explain_alone(self) -> Iterator[None]:
        self.check_explain()
        self._explaining = True
        try:
            yield
        finally:
            self._explaining = False

    async def _answer(self, data: bytes, params: DetectParams, context: RequestContext) -> Answered:
        with begin(context.step, "detect") as step:
            answered = await self._run(data, params, context.inside(step))
            self._observers.answered(answered)
            return answered

    async def _run(self, data: bytes, params: DetectParams, context: RequestContext) -> Answered:
        routes = self.ready_models().routes(params.model)
        image = ImageStages(data, self.settings.max_pixels, params.bits or self.settings.bits)
        failed: dict[str, BackendUnavailable] = {}  # backends that could not answer this image, and why
        choice = choose(routes, params, failed)
        while True:
            try:
                with choice.version.users.add():  # before any await: a reload may replace the version
                    answered = await self._attempt(choice, image, params, context)
                    if params.explain != "off":
                        answered = await self._explained(choice, image, answered)
                    return answered
            except BackendUnavailable as error:
                # Only this error sends the image to the next backend. A busy backend is healthy, and another
                # backend cannot help with a passed deadline or a refused input.
                following = await choose_next(choice, error, routes, params, failed, context)
                if following.route is not choice.route:
                    self.metrics.failed_over(choice.route.backend_name)
                choice = following

    async def detect_all(
        self, images: Sequence[bytes | ServiceError], params: DetectParams, contexts: Sequence[RequestContext]
    ) -> list[Answered | ServiceError]:
        """Return an answer or an error for each image of a request, in order.

        Because the request has been admitted, all its images get their turns, even if the queue has become
        long. At most _IMAGES_AT_ONCE of them run at the same time.

        Args:
            images: bytes of the image files; in place of a file that could not be fetched, an error, which
                becomes its answer.
            params: parameters of the request, for all images.
            contexts: id and deadline for each image.
        """
        room = asyncio.Semaphore(_IMAGES_AT_ONCE)

        async def one(data: bytes | ServiceError, context: RequestContext) -> Answered | ServiceError:
            async with room:
                try:
                    if isinstance(data, ServiceError):
                        raise data
                    return await self._answer(data, params, context)
                except ServiceError as error:
                    self._observers.refused(error, context)
                    return error

        async with asyncio.TaskGroup() as group:
            pairs = zip(images, contexts, strict=True)
            tasks = [group.create_task(one(data, context)) for data, context in pairs]
        return [task.result() for task in tasks]

    async def preview(self, data: bytes, context: RequestContext, bits: int | None = None) -> bytes:
        """Return an image file as JPEG, upright and with at most 2048 pixels on its longer side.

        `bits` is the number of significant bits in a file with 16 bits per value; with None, the setting
        `bits` applies.

        Raises:
            EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: the image cannot be decoded.
            DeadlineExceeded: the image was not ready before the deadline.
        """
        limits = (self.settings.max_pixels, bits or self.settings.bits)
        return await self._threads.run(context, lambda: to_preview(decode(data, *limits).pixels))

    async def drawing(self, data: bytes, params: DetectParams, answered: Answered) -> bytes:
        """Return an image file as JPEG, upright and at its own size, with the predictions drawn into it.

        The method decodes the file again, so that no request keeps pixels in memory while it waits for a
        thread.

        Args:
            data: bytes of the image file.
            params: parameters of the request.
            answered: the answer for this image; its masks, if any, must be RLE.

        Raises:
            InvalidParameter: a side of the image is too long for a JPEG.
            DeadlineExceeded: the drawing was not ready before the deadline.
        """
        if max(answered.image_hw) > JPEG_MAX_PX:
            sentence = f"a JPEG has at most {JPEG_MAX_PX} pixels on a side, and this image has more"
            raise InvalidParameter("format", f"{sentence}; use format=json")
        limits = (self.settings.max_pixels, params.bits or self.settings.bits)

        def drawn() -> bytes:
            pixels = np.require(decode(data, *limits).pixels, requirements=["C", "W"])
            draw(pixels, answered.result, answered.version.manifest, answered.context)
            return to_jpeg(pixels)

        return await self._threads.run(answered.context, drawn)

    async def _attempt(
        self, choice: Choice, image: ImageStages, params: DetectParams, context: RequestContext
    ) -> Answered:
        """Run every stage on the chosen route, and return the answer."""
        version, manifest = choice.version, choice.version.manifest
        resolved = resolve(params, manifest)
        facts = {"sparsight.backend": version.backend_name, "sparsight.version": manifest.version}
        with begin(context.step, "attempt", facts) as step:
            inside = context.inside(step)
            async with choice.route.turn(image.size_bytes, inside, movable=choice.movable) as wait_s:
                image.queue_s += wait_s
                resolved, degraded = choice.route.brownout.lower(resolved, params, manifest)
                terms = RouteTerms(choice.route.brownout.cheaper(params, manifest))
                job = Attempt(image, manifest, resolved, step, terms)
                found = await choice.route.run(version, job, inside, movable=choice.movable)
        return Answered(
            version=version,
            reason=choice.reason,
            context=context,
            params=found.params,
            degraded=degraded or terms.top_k is not None,
            data=image.data,
            image_hw=found.image_hw,
            notes=found.notes,
            result=found.result,
            experts=found.experts,
            path=found.path,
            compute=found.compute,
            routing=self._judge(version),
            timings=found.timings,
        )

    async def _explained(self, choice: Choice, image: ImageStages, answered: Answered) -> Answered:
        """Return the answer with an explanation, from further runs on the same backend."""
        subject = Subject(
            version=answered.version,
            placed=image.place(answered.version.manifest.images),
            experts=answered.experts,
            controls=answered.params.controls,
            path=answered.path,
        )
        explanation = await explain(choice.route, subject, answered.context)
        return replace(answered, explanation=explanation)

    def ready_models(self) -> Models:
        """Return the models, if they are loaded; their backends may have become unhealthy since.

        Raises:
            NotReady: the models are not loaded yet, or could not be loaded.
        """
        if self.loading:
            raise NotReady(self.loading)
        return self.models

    async def reload(self) -> Changes:
        """Read the local repository again, and serve the new versions; return what has changed.

        Raises:
            NotReady: the models are not loaded yet, could not be loaded, or the service is stopping.
            ReloadIncomplete: a model is broken, so its old version stays; all other changes are made.
        """
        self.ready_models()
        if self.stopping:
            raise NotReady("it is stopping")
        assert self.read_again is not None
        return await self.read_again()

    def check_ready(self) -> None:
        """Check that the service can answer requests for the default model.

        Raises:
            NotReady: no backend can serve the default model, or the service is stopping.
        """
        why = self.ready_models().why_not_ready()
        if why is not None:
            raise NotReady(why)
        if self.stopping:
            raise NotReady("it is stopping")

    async def close(self) -> None:
        """Stop the service, after the running stages have ended.

        The caller must not call any other method afterwards.
        """
        self.stopping = True
        await asyncio.to_thread(self._threads.close)
