"""Pass images to Triton through shared memory: both processes map the same regions, which have slots."""

import asyncio
import fcntl
import logging
import mmap
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.backends.triton.channel import TritonChannel
from service.errors import BackendUnavailable, DeadlineExceeded, ServiceError

log = logging.getLogger(__name__)

_REGISTER_S = 1.0
_OURS = re.compile(r"sparsight-[0-9]+-.+")  # sparsight-<process id>-<random>
_FOLDER = Path("/dev/shm")


class ImageSlots:
    """A shared memory region with slots for images: one locked file in /dev/shm.

    The operating system releases the lock when this process ends, even by a crash. An unlocked file can
    therefore be removed as a leftover. The class does not use multiprocessing.shared_memory for two reasons:
    that module starts an extra process for cleaning up, and it does not reserve the memory, so a write ends
    in SIGBUS if too little memory is free.
    """

    def __init__(self, slot_bytes: int, slots: int, folder: Path = _FOLDER) -> None:
        """Create the file and reserve its memory.

        Raises:
            OSError: there is not enough shared memory.
        """
        self.name = f"sparsight-{os.getpid()}-{secrets.token_hex(4)}"
        self.slot_bytes = slot_bytes
        self.total_bytes = slot_bytes * slots
        self._path = folder / self.name
        self._file = _create_locked(self._path)
        try:
            os.posix_fallocate(self._file, 0, self.total_bytes)
            self._memory = mmap.mmap(self._file, self.total_bytes)
        except OSError:
            self._path.unlink()
            os.close(self._file)
            raise
        self._free = list(range(slots))

    @property
    def key(self) -> str:
        """Return the name of the region for shm_open."""
        return f"/{self.name}"

    @contextmanager
    def hold(self, images: NDArray[Any]) -> Iterator[int | None]:
        """Copy `images` to a free slot, and reserve the slot during the block.

        Yield the slot's offset in bytes, or None if no slot is free.
        """
        if not self._free:
            yield None
            return
        slot = self._free.pop()
        try:
            offset = slot * self.slot_bytes
            view = np.frombuffer(self._memory, images.dtype, images.size, offset)
            np.copyto(view.reshape(images.shape), images)
            del view  # a region with NumPy views cannot be closed
            yield offset
        finally:
            # After a cancelled call Triton may still read the slot, but its result is dropped.
            self._free.append(slot)

    def close(self) -> None:
        """Delete the file and free its memory."""
        self._path.unlink(missing_ok=True)
        self._memory.close()
        os.close(self._file)


class SharedImages:
    """The shared memory regions for one server: the first use of each image size in bytes creates one."""

    def __init__(self, channel: TritonChannel, slots: int) -> None:
        """Remove regions that dead processes left behind; reserve no memory yet."""
        self._channel = channel
        self._slots = slots
        self._regions: dict[int, ImageSlots] = {}
        self._works = True
        if removed := remove_leftovers():
            log.info("shared_memory_leftovers_removed", extra={"regions": ", ".join(removed)})

    def region(self, image_bytes: int) -> ImageSlots | None:
        """Return the region for images of `image_bytes` bytes; None if shared memory does not work here.

        If the result is None, the caller sends the images in the gRPC message.
        """
        if self._works and image_bytes not in self._regions:
            try:
                self._regions[image_bytes] = ImageSlots(image_bytes, self._slots)
            except OSError as error:
                self._give_up(f"{_FOLDER}: {error.strerror}")
        return self._regions.get(image_bytes) if self._works else None

    async def register(self, region: ImageSlots) -> bool:
        """Register a region with the server; return False if the server cannot use it.

        If the result is False, the caller sends the images in the gRPC message. The caller registers a region
        when the server does not know it: at its first use, and after the server has restarted.

        Raises:
            BackendUnavailable: the server does not answer, so it is unknown whether it can use the region.
        """
        try:
            await self._channel.register_memory(region.name, region.key, region.total_bytes, _REGISTER_S)
        except DeadlineExceeded as error:
            why = f"triton did not register the shared memory within {_REGISTER_S:g} s"
            raise BackendUnavailable(why) from error
        except ServiceError as error:
            if isinstance(error, BackendUnavailable) and error.lost:
                raise
            self._give_up(str(error))
        return self._works

    async def close(self) -> None:
        """Unregister the regions from the server, and free their memory."""
        for region in self._regions.values():
            await self._unregister(region)
            region.close()
        self._regions.clear()

    async def _unregister(self, region: ImageSlots) -> None:
        # The server refuses to unregister a region while a cancelled request still uses it, so try again.
        for pause_s in (0.05, 0.1, 0.2, 0.4, 0.8, None):
            try:
                await self._channel.unregister_memory(region.name, _REGISTER_S)
                return
            except ServiceError as error:
                if pause_s is None or "in use" not in str(error):
                    log.info("shared_memory_not_unregistered", extra={"why": str(error)})
                    return
            await asyncio.sleep(pause_s)

    def _give_up(self, why: str) -> None:
        self._works = False
        log.warning("shared_memory_unavailable", extra={"why": why})


def remove_leftovers(folder: Path = _FOLDER) -> list[str]:
    """Remove the regions of processes that have died; return the names of the removed regions.

    A region's process has died if its file is not locked. The process id in the file's name does not show
    this, because containers can share /dev/shm but number their processes separately.
    """
    removed = []
    for path in folder.glob("sparsight-*"):
        if not _OURS.fullmatch(path.name):
            continue
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # deleted meanwhile, or owned by another user
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed.append(path.name)
        except BlockingIOError:
            pass
        finally:
            os.close(file)
    return removed


def _create_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # another process removed it as a leftover before the lock was taken
