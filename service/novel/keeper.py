"""Store novel images in a thread, not in the event loop, so that no request waits or fails because of it."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import numpy as np

from service.errors import NotDeleted, ServiceError
from service.expert_metrics import ExpertMetrics
from service.novel.folder import Folder
from service.novel.latest import Latest
from service.novel.record import Record, record_of
from service.novel.score import Novelty, novelty_of
from service.observe.protocol import Answered
from service.pipeline.decode import decode
from service.pipeline.encode import JPEG_MAX_PX, to_jpeg
from service.routing.monitor import Ranked
from service.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")
_WAITING = 4  # images that may wait to be written; each holds a whole file in memory


class Keeper:
    """The folder of novel images, and the thread that alone uses it.

    Call all methods in the event loop.
    """

    def __init__(self, settings: Settings, metrics: ExpertMetrics) -> None:
        """Prepare the folder in the settings, which must name one; `open` reads it."""
        limits = settings.novel
        assert limits.folder is not None
        self._settings, self._metrics = settings, metrics
        self._folder = Folder(limits.folder, limits.images, limits.bytes)
        self._latest: dict[str, Latest] = {}  # by the model's name
        self._thread = ThreadPoolExecutor(1, "novel")
        self._waiting = 0
        self._failing = False  # whether the last image could not be written

    async def open(self) -> None:
        """Read what an earlier process has kept; if that fails, log why."""
        try:
            await self._run(self._folder.read)
        except OSError as error:
            self._failing = True
            log.warning("novel_folder_unusable", extra={"why": str(error)})
        self._metrics.novel_kept.set(len(self._folder))

    async def close(self) -> None:
        """Finish the image that is being written, and drop those that wait."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def ranked(self, ranked: Ranked) -> None:
        """Keep an image in the background if it is novel, and if its caller allows it."""
        image = ranked.image
        if not image.context.may_keep:
            return
        novelty = novelty_of(ranked)
        latest = self._latest.setdefault(image.version.manifest.name, Latest(self._settings.novel.share))
        if not latest.add(novelty.score, novelty.rank):
            return
        if self._waiting >= _WAITING:
            self._metrics.novel.labels("full").inc()
            return
        self._waiting += 1
        writing = asyncio.ensure_future(self._run(lambda: self._keep(image, novelty)))
        writing.add_done_callback(self._written)

    async def records(self) -> list[Record]:
        """Return the records of the kept images, the most novel first."""
        found = await self._run(self._listed)
        return sorted(found, key=lambda record: (-record.score, record.id))

    async def image(self, image_id: str) -> bytes:
        """Return the JPEG of an image.

        Raises:
            UnknownImage: it is not kept.
        """
        return await self._run(lambda: self._folder.image(image_id))

    async def delete(self, image_id: str) -> None:
        """Delete an image.

        Raises:
            UnknownImage: it is not kept.
            NotDeleted: its files cannot be removed.
        """
        try:
            await self._run(lambda: self._folder.delete(image_id))
        except OSError as error:
            raise NotDeleted(image_id, error.strerror or str(error)) from error
        self._metrics.novel_kept.set(len(self._folder))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        self._waiting -= 1
        if not writing.cancelled() and (error := writing.exception()) is not None:
            log.error("novel_not_kept", exc_info=error)

    def _listed(self) -> list[Record]:
        with suppress(OSError):  # what cannot be looked up is listed as before
            self._folder.forget_removed()
        self._metrics.novel_kept.set(len(self._folder))
        return list(self._folder)

    def _keep(self, image: Answered, novelty: Novelty) -> None:
        """Write an image, in the thread, if the folder has room and no similar image that is as novel."""
        try:
            self._folder.forget_removed()
            if self._folder.has_like(novelty, image.version.sha256):
                return
            kept = self._folder.has_room(novelty.score) and self._write(image, novelty)
        except (OSError, ServiceError) as error:
            kept = False
            if not self._failing:  # a full disk would otherwise also fill the log
                log.warning("novel_not_kept", extra={"why": str(error)})
            self._failing = True
        self._metrics.novel.labels("kept" if kept else "full").inc()
        self._metrics.novel_kept.set(len(self._folder))

    def _write(self, image: Answered, novelty: Novelty) -> bool:
        if max(image.image_hw) > JPEG_MAX_PX:
            return False
        # A new file, which holds the upright pixels and nothing else of the caller's file.
        decoded = decode(image.data, self._settings.max_pixels, self._settings.bits)
        jpeg = to_jpeg(np.require(decoded.pixels, requirements=["C", "W"]))
        record = record_of(secrets.token_hex(8), image, novelty, len(jpeg))
        kept = self._folder.keep(record, jpeg, novelty)
        self._failing = False
        return kept
