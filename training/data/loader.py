"""Batches of training images, made in worker processes.

Every sample has its own random generator, seeded by the run's seed, the epoch and the sample's position in
the epoch. Therefore neither the number of workers nor resuming a run changes the samples.
"""

import multiprocessing
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from training.config import TrainConfig
from training.data.balance import repeat_factors, repeated
from training.data.batch import Batch
from training.data.sample import Dataset, Sample
from training.data.view import DatasetView
from training.errors import DatasetError

CACHE_BYTES = 2 * 1024**3


class SampleMaker(Protocol):
    """The part of a task that turns the images of its data sets into samples and batches."""

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return a sample at the size for the cache; scaling it again changes nothing."""
        ...

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return image `index`, augmented with random numbers of rng, at the size of the model input."""
        ...

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return the batch made of these augmented samples."""
        ...


@dataclass(frozen=True)
class Share:
    """The images of a batch that are for this process: of each part, the rank-th of `ranks` equal slices."""

    rank: int = 0
    ranks: int = 1

    def of_part(self, config: TrainConfig, part: int) -> slice:
        """Return the positions in the batch of the images of one part that are for this process."""
        per_part = config.batch_size // config.accumulate
        mine = per_part // self.ranks
        start = part * per_part + self.rank * mine
        return slice(start, start + mine)


WHOLE = Share()


class TrainingLoader(AbstractContextManager["TrainingLoader"]):
    """Yields training batches; owns the cache of decoded images and the worker processes until close().

    An epoch has len(loader) batches, all full: images that are left over are not shown in this epoch, and a
    data set smaller than a batch is repeated. Each batch is yielded as config.accumulate parts.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        maker: SampleMaker,
        cache_bytes: int = CACHE_BYTES,
        pin_memory: bool = False,
        *,
        share: Share = WHOLE,
    ) -> None:
        """Decode images into the cache, which workers share.

        Args:
            cache_bytes: limit of the cache, in bytes of decoded images.
            pin_memory: whether batches are in page-locked memory.
            share: the part of each batch for this process.

        Raises:
            DatasetError: the data set is empty, or an image cannot be loaded.
        """
        if len(dataset) == 0:
            raise DatasetError("the training data set has no images")
        cached = CachedDataset(dataset, config.model.input_hw, maker, cache_bytes)
        factors = np.ones(len(dataset))
        if config.repeat_threshold:
            class_ids = [dataset.class_ids(index) for index in range(len(dataset))]
            factors = repeat_factors(class_ids, config.repeat_threshold)
        self._sampler = _EpochSampler(factors, config, share)
        workers = config.loader_workers
        # fork shares the cache without copying it. It is named here, as the default start method may change.
        can_fork = "fork" in multiprocessing.get_all_start_methods()
        self._batches: DataLoader[Any] = DataLoader(
            _Parts(cached, config, maker),
            batch_size=None,  # the sampler already yields whole parts
            sampler=self._sampler,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if workers and can_fork else None,
            prefetch_factor=2 if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else each epoch would consume numbers of the global generator
        )

    def __len__(self) -> int:
        return len(self._sampler)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the parts of the batches of an epoch, in order, beginning with batch start_batch.

        Epochs and batches are counted from 0. Starting an epoch ends the epoch before.

        Raises:
            DatasetError: an image cannot be loaded.
        """
        self._sampler.epoch, self._sampler.start_batch = epoch, start_batch
        with warnings.catch_warnings():
            # Python 3.12 warns about fork in a process with threads; workers use none of the parent's locks.
            warnings.filterwarnings("ignore", r".*use of fork\(\)", DeprecationWarning)
            batches = iter(self._batches)
        for batch in batches:
            if isinstance(batch, DatasetError):
                raise batch
            yield batch

    def close(self) -> None:
        """Stop the worker processes; iterators of `epoch` must not be used any more."""
        iterator = self._batches._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._batches._iterator = None

    def __exit__(self, *_: object) -> None:
        self.close()


class CachedDataset(DatasetView):
    """A view of a data set whose images are scaled, and whose first images stay in memory.

    Augmentation begins with the same scaling, so the view gives the same samples as the data set.
    """

    def __init__(
        self, dataset: Dataset, input_hw: tuple[int, int], maker: SampleMaker, cache_bytes: int
    ) -> None:
        super().__init__(dataset)
        self._input_hw = input_hw
        self._maker = maker
        self._samples: list[Sample] = []
        used = 0
        while used < cache_bytes and len(self._samples) < len(dataset):
            self._samples.append(self._read(len(self._samples)))
            used += self._samples[-1].image.nbytes

    def load(self, index: int) -> Sample:
        """Return a scaled sample, from memory if it is cached."""
        return self._samples[index] if index < len(self._samples) else self._read(index)

    def _read(self, index: int) -> Sample:
        return self._maker.scale(super().load(index), self._input_hw)


_Draw = tuple[int, int, int]  # a sample to make: its epoch, its position in the epoch, its image index


class _EpochSampler:
    """Yields the samples that this process makes for each part of the batches of the current epoch.

    The images of a batch depend neither on the share of this process nor on the number of parts.
    """

    def __init__(self, factors: NDArray[np.float64], config: TrainConfig, share: Share) -> None:
        self._factors = factors  # how often each image is shown in an epoch, on average
        self._config = config
        self._share = share
        self.epoch = 0
        self.start_batch = 0

    def __len__(self) -> int:
        return max(1, int(self._factors.sum()) // self._config.batch_size)

    def __iter__(self) -> Iterator[list[_Draw]]:
        config = self._config
        rng = np.random.default_rng([config.seed, self.epoch])
        order = rng.permutation(repeated(self._factors, rng))
        order = np.resize(order, len(self) * config.batch_size)  # repeats a small set, cuts a large one
        draws = [(self.epoch, place, int(index)) for place, index in enumerate(order)]
        for batch in range(self.start_batch, len(self)):
            whole = draws[batch * config.batch_size : (batch + 1) * config.batch_size]
            for part in range(config.accumulate):
                yield whole[self._share.of_part(config, part)]


class _Parts(torch.utils.data.Dataset[Batch | DatasetError]):
    """Makes a part of a batch in a worker.

    It returns a DatasetError instead of raising it: DataLoader would put the worker's traceback into it.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, maker: SampleMaker) -> None:
        self._dataset = dataset
        self._config = config
        self._maker = maker

    def __getitem__(self, draws: Sequence[_Draw]) -> Batch | DatasetError:
        try:
            return self._maker.collate([self._sample(draw) for draw in draws])
        except DatasetError as error:
            return error

    def _sample(self, draw: _Draw) -> Sample:
        epoch, place, index = draw
        rng = np.random.default_rng([self._config.seed, epoch, place])
        return self._maker.augment(self._dataset, index, rng, self._config, epoch)


def _start_worker(_worker: int) -> None:
    """Limit the worker to one thread, and let it ignore SIGINT and SIGTERM.

    Ctrl-C and service managers signal the whole process group, but the parent still needs its last batch.
    Workers whose parent is gone end by themselves.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)
