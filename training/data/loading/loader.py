"""Batches of training images, made in worker processes.

Every sample has its own random generator. Its seed consists of the run's seed, the epoch and the sample's
position in the epoch. Therefore the samples stay the same if the number of workers changes, or if a run is
resumed.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.config import TrainConfig
from training.cores import usable_cores
from training.data.images.reduced_jpeg import Fit
from training.data.loading.balance import repeat_factors, repeated
from training.data.loading.batch import Batch
from training.data.loading.workers import WorkerPool, workers_possible
from training.data.sample import Dataset, Sample
from training.data.view import DatasetView
from training.errors import DatasetError, TrainingError, in_a_sentence
from training.progress import bar

log = logging.getLogger(__name__)

CACHE_BYTES = 2 * 1024**3
MOST_WORKERS = 8


class SampleMaker(Protocol):
    """The code of a task, such as detection, that turns images of a data set into samples and batches."""

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return a sample scaled to the size at which it is cached; scaling it again changes nothing."""
        ...

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return image `index` at the size of the model input, augmented with random numbers from rng."""
        ...

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Combine augmented samples into a batch."""
        ...


@dataclass(frozen=True)
class Share:
    """The images of a batch that this process loads, if several processes train together.

    A batch consists of config.accumulate parts. Each part is cut into `ranks` equal slices, and this process
    loads slice number `rank` of every part.
    """

    rank: int = 0
    ranks: int = 1

    def of_part(self, config: TrainConfig, part: int) -> slice:
        """Return where in the batch the images are that this process loads for one part."""
        per_part = config.batch_size // config.accumulate
        mine = per_part // self.ranks
        start = part * per_part + self.rank * mine
        return slice(start, start + mine)


WHOLE = Share()


class TrainingLoader(AbstractContextManager["TrainingLoader"]):
    """Yields training batches; owns the cache of decoded images and the worker processes until close().

    An epoch has len(loader) batches, and all batches are full. Images that do not fill a last batch are not
    shown in this epoch. A data set smaller than a batch is repeated. Each batch is yielded in
    config.accumulate parts.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        maker: SampleMaker,
        cache_bytes: int = CACHE_BYTES,
        *,
        share: Share = WHOLE,
    ) -> None:
        """Prepare the order of images; the first epoch decodes images and starts the workers.

        Args:
            cache_bytes: how many bytes of decoded images the cache may hold.
            share: which images of each batch this process loads.

        Raises:
            DatasetError: the data set is empty, or labels cannot be read.
        """
        if len(dataset) == 0:
            raise DatasetError("the training data set has no images")
        factors = np.ones(len(dataset))
        if config.repeat_threshold:
            class_ids = [dataset.class_ids(index) for index in range(len(dataset))]
            factors = repeat_factors(class_ids, config.repeat_threshold)
        self._sampler = _EpochSampler(factors, config, share)
        self._parts = _Parts(CachedDataset(dataset, config.model.input_hw, maker), config, maker)
        self._cache_bytes = cache_bytes
        self._workers = config.loader_workers
        if not workers_possible():
            log.info("the training process loads the images itself: loader processes are for Linux")
            self._workers = 0
        elif self._workers is None:
            self._workers = default_workers(share.ranks)
        # Workers get parts in turns, so more workers than an epoch has parts would stay idle.
        self._workers = min(self._workers, len(self) * config.accumulate)
        self._pool: WorkerPool | None = None

    def __len__(self) -> int:
        return len(self._sampler)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the parts of the batches of an epoch, in order, beginning with batch start_batch.

        Epochs and batches are counted from 0. After an epoch has started, the iterators of earlier epochs
        must not be used. Before its first batch, the first epoch decodes images into the cache, which the
        workers share.

        Raises:
            DatasetError: an image cannot be loaded or augmented; the message names its file.
            LoaderError: a worker process has ended or cannot start.
        """
        self._parts.dataset.fill(self._cache_bytes)
        if self._pool is None and self._workers:
            self._pool = WorkerPool(self._parts, self._workers)
        jobs = self._sampler.parts(epoch, start_batch)
        yield from map(self._parts.make, jobs) if self._pool is None else self._pool.batches(jobs)

    def close(self) -> None:
        """End the worker processes; iterators of `epoch` must not be used any more."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None

    def __exit__(self, *_: object) -> None:
        self.close()


def default_workers(processes: int) -> int:
    """Return the number of loader workers for each of `processes` training processes on this machine.

    The usable cores are divided evenly among the training processes. Each training process keeps one of its
    cores for training, and has one worker for each other core, but at least 1 and at most MOST_WORKERS.
    """
    return min(MOST_WORKERS, max(1, usable_cores() // processes - 1))


class CachedDataset(DatasetView):
    """A view of a data set whose images are scaled, and whose first images stay in memory.

    Augmentation begins with the same scaling, so augmenting images of the view or of the data set gives the
    same samples.
    """

    def __init__(self, dataset: Dataset, input_hw: tuple[int, int], maker: SampleMaker) -> None:
        super().__init__(dataset)
        self._input_hw = input_hw
        self._maker = maker
        self._samples: list[Sample] = []
        self._filled = False
        self.reading = np.full(1, -1)  # index of the last image that was loaded; -1: none

    def fill(self, cache_bytes: int) -> None:
        """Decode images into the cache, from the first on, until cache_bytes is full; do so only once.

        Raises:
            DatasetError: an image cannot be loaded; the message names its file.
        """
        if self._filled or not cache_bytes:
            return
        used = 0
        with bar(len(self), "image", "decode into memory") as progress:
            while used < cache_bytes and len(self._samples) < len(self):
                self._samples.append(self._read(len(self._samples)))
                used += self._samples[-1].image.nbytes
                progress.update()
        self._filled = True

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return a scaled sample, from memory if it is cached; `fit` is ignored, so no pixels are reduced."""
        self.reading[0] = index
        return self._samples[index] if index < len(self._samples) else self._read(index)

    def _read(self, index: int) -> Sample:
        try:
            return self._maker.scale(super().load(index), self._input_hw)
        except TrainingError:
            raise
        except Exception as error:
            raise DatasetError(f"{self.name(index)}: cannot be read ({in_a_sentence(error)})") from error


_Draw = tuple[int, int, int]  # a sample to make: its epoch, its position in the epoch, its image index


class _EpochSampler:
    """Yields the samples that this process makes for each part of the batches of an epoch.

    The images of a whole batch depend neither on the number of processes nor on the number of parts.
    """

    def __init__(self, factors: NDArray[np.float64], config: TrainConfig, share: Share) -> None:
        self._factors = factors  # how often each image is shown in an epoch, on average
        self._config = config
        self._share = share

    def __len__(self) -> int:
        return max(1, int(self._factors.sum()) // self._config.batch_size)

    def parts(self, epoch: int, start_batch: int) -> Iterator[list[_Draw]]:
        config = self._config
        rng = np.random.default_rng([config.seed, epoch])
        order = rng.permutation(repeated(self._factors, rng))
        order = np.resize(order, len(self) * config.batch_size)  # repeats a small set, cuts a large one
        draws = [(epoch, place, int(index)) for place, index in enumerate(order)]
        for batch in range(start_batch, len(self)):
            whole = draws[batch * config.batch_size : (batch + 1) * config.batch_size]
            for part in range(config.accumulate):
                yield whole[self._share.of_part(config, part)]


class _Parts:
    """Makes parts of batches, in this process or in a worker."""

    def __init__(self, dataset: CachedDataset, config: TrainConfig, maker: SampleMaker) -> None:
        self.dataset = dataset
        self._config = config
        self._maker = maker

    def make(self, draws: Sequence[_Draw]) -> Batch:
        """Return one part of a batch; raise DatasetError, which names the file, if a sample fails."""
        return self._maker.collate([self._sample(draw) for draw in draws])

    def _sample(self, draw: _Draw) -> Sample:
        epoch, place, index = draw
        rng = np.random.default_rng([self._config.seed, epoch, place])
        try:
            return self._maker.augment(self.dataset, index, rng, self._config, epoch)
        except TrainingError:
            raise
        except Exception as error:
            what = f"{self.dataset.name(index)}: augmenting it failed"
            raise DatasetError(f"{what} ({in_a_sentence(error)})") from error
