"""Processes that make batches for the training process.

A worker writes each batch into anonymous shared memory (memfd), and sends the file descriptor of this memory
over a socket. So batches take no space in /dev/shm. In a container, /dev/shm usually has 64 MB, and torch's
DataLoader puts its batches there. Each worker has a socket of its own, and workers share no lock. When a
worker dies, its socket is closed, so the training process never waits for a dead worker.
"""

import logging
import mmap
import os
import pickle
import signal
import socket
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from multiprocessing.util import Finalize
from threading import RLock
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.data.loading.batch import Batch
from training.errors import DatasetError, LoaderError, TrainingError, in_a_sentence

log = logging.getLogger(__name__)

AHEAD = 2  # batches that each worker makes before they are needed
ALIGNED = 64  # each array of a batch begins at a multiple of this many bytes
MESSAGE_BYTES = 2**17  # largest message: a job, or the description of a batch
CHECK_S = 5.0  # seconds between checks that a worker is alive
SLOW_S = 60.0  # a batch that takes longer is logged once
ADVICE = {
    "by SIGKILL": "the system does so when memory runs out: give fewer --workers or a smaller --batch",
}


class Reader(Protocol):
    """A data set from which workers load images.

    `reading` records the image that each worker reads, so that the error can name it if a worker dies."""

    reading: NDArray[np.int64]  # (1,) index of the last image that was loaded; -1: none

    def name(self, index: int) -> str:
        """Return the name of an image, for messages."""
        ...


class Maker(Protocol):
    """Makes batches, in this process or in a worker."""

    @property
    def dataset(self) -> Reader:
        """Return the data set from which the batches are made."""
        ...

    def make(self, job: Any) -> Batch:
        """Return the batch of a job; raise DatasetError, which names the file, if an image cannot be used."""
        ...


@dataclass(frozen=True)
class _Worker:
    process: ForkProcess
    socket: socket.socket
    reading: NDArray[np.int64]  # in memory that the worker shares


def workers_possible() -> bool:
    """Return whether this system can run workers; they need the anonymous shared memory (memfd) of Linux."""
    return hasattr(os, "memfd_create")


class WorkerPool:
    """Worker processes that make batches in turns, until close() ends them."""

    def __init__(self, maker: Maker, count: int) -> None:
        """Start workers that share the memory of this process; raise LoaderError if one cannot start."""
        self._maker = maker
        self._workers: list[_Worker] = []
        self._waiting: deque[_Worker] = deque()  # the workers of batches that are not received yet, in order
        self._end = Finalize(self, _end, (self._workers,), exitpriority=1)
        # Signals are blocked until the worker ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            for _ in range(count):
                self._workers.append(self._start())
        except OSError as error:
            raise LoaderError(f"a loader process cannot start ({error.strerror}); use --workers 0") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def batches(self, jobs: Iterable[Any]) -> Iterator[Batch]:
        """Yield the batch of each job, in order.

        If the caller stops iterating early, the next call discards the batches that are still being made.

        Raises:
            DatasetError: a batch cannot be made; the message names the file.
            LoaderError: a worker has ended; the message says how, and which image it loaded last.
        """
        while self._waiting:
            self._receive()
        for job, worker in zip(jobs, cycle(self._workers), strict=False):
            if len(self._waiting) == AHEAD * len(self._workers):
                yield self._receive()
            with suppress(ConnectionError):  # the worker has ended, as receiving from it will tell
                worker.socket.send(pickle.dumps(job))
            self._waiting.append(worker)
        while self._waiting:
            yield self._receive()

    def close(self) -> None:
        """End the workers at once, even if they are suspended or wait for a disk."""
        self._end()

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading = np.frombuffer(mmap.mmap(-1, 8), dtype=np.int64)  # the worker shares this memory
        reading[:] = -1
        self._maker.dataset.reading = reading
        inherited = [ours, *(worker.socket for worker in self._workers)]
        # Fork shares the cache of images without copying it.
        process = get_context("fork").Process(
            target=_work, args=(theirs, inherited, self._maker), daemon=True
        )
        with warnings.catch_warnings(), theirs:
            # Python 3.12 warns about fork in a process with threads; workers use none of the parent's locks.
            warnings.filterwarnings("ignore", r".*use of fork\(\)", DeprecationWarning)
            try:
                process.start()
            except OSError:
                ours.close()
                raise
        return _Worker(process, ours, reading)

    def _receive(self) -> Batch:
        worker = self._waiting.popleft()
        waited_s = 0.0
        while not wait([worker.socket], CHECK_S):
            if not worker.process.is_alive():  # and a child of the worker holds the socket open
                worker.socket.setblocking(False)  # recv_fds of Python 3.11 ignores its flags
                break
            waited_s += CHECK_S
            if waited_s == SLOW_S:
                log.warning(
                    f"waiting for a batch for {SLOW_S:.0f} s; loader process {worker.process.pid} last "
                    f"loaded {self._last_loaded(worker)}"
                )
        message, descriptors = b"", list[int]()
        with suppress(ConnectionError, BlockingIOError):
            message, descriptors, _, _ = socket.recv_fds(worker.socket, MESSAGE_BYTES, 1)
        if not message:
            raise LoaderError(self._how_it_ended(worker))
        content = pickle.loads(message)
        if isinstance(content, str):
            raise DatasetError(content)
        kind, arrays = content
        return _mapped(kind, arrays, descriptors[0])

    def _last_loaded(self, worker: _Worker) -> str:
        index = int(worker.reading[0])
        return "no image" if index < 0 else self._maker.dataset.name(index)

    def _how_it_ended(self, worker: _Worker) -> str:
        worker.process.join(CHECK_S)
        code = worker.process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        advice = ADVICE.get(how, "that image or the code that reads it may be the reason")
        return f"a loader process ended {how}; it last loaded {self._last_loaded(worker)}; {advice}"


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.socket.close()
        worker.process.kill()
        worker.process.join()


def _work(own: socket.socket, inherited: Sequence[socket.socket], maker: Maker) -> None:
    """Make a batch for each job, until the training process has ended.

    The worker ignores SIGINT and SIGTERM, because Ctrl-C and service managers send these signals to every
    process. The training process ends its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for each in inherited:
        each.close()
    tqdm.set_lock(RLock())  # tqdm shares its lock among processes, and a killed worker might hold it
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with suppress(ConnectionError):
        while job := own.recv(MESSAGE_BYTES):
            try:
                _send(own, maker.make(pickle.loads(job)))
            except TrainingError as error:
                own.send(pickle.dumps(str(error)))
            except OSError as error:
                own.send(pickle.dumps(f"a loader process has no memory for a batch ({in_a_sentence(error)})"))


def _send(own: socket.socket, batch: Batch) -> None:
    arrays = [tensor.numpy() for tensor in batch.tensors()]
    with os.fdopen(os.memfd_create("batch"), "wb") as memory:
        for array in arrays:
            memory.write(np.ascontiguousarray(array).data)
            memory.seek(-memory.tell() % ALIGNED, os.SEEK_CUR)
        memory.truncate()
        content = (type(batch), [(array.dtype.str, array.shape) for array in arrays])
        socket.send_fds(own, [pickle.dumps(content)], [memory.fileno()])


def _mapped(kind: type[Batch], arrays: Sequence[tuple[str, tuple[int, ...]]], descriptor: int) -> Batch:
    """Return a batch whose tensors lie in the shared memory behind a file descriptor; close the descriptor.

    The memory is freed when the last of these tensors is freed.
    """
    try:
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    tensors, start = [], 0
    for dtype, shape in arrays:
        array = np.ndarray(shape, dtype, memory, start)
        tensors.append(torch.from_numpy(array))
        start += -(-array.nbytes // ALIGNED) * ALIGNED
    return kind(*tensors)
