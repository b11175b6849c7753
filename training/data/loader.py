"""Batches of training images, the same for a seed whatever the number of worker processes.

Every sample draws from a generator of its own, seeded by run, epoch and place in the epoch, so a run
resumed in the middle of an epoch sees exactly the images it would have seen.
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
    """The part of a task that makes samples and batches of its data sets."""

    def scale(self, sample: Sample, input_hw: tuple[int, int]) -> Sample:
        """Return a sample at the size at which it is kept. Doing it twice changes nothing more."""
        ...

    def augment(
        self, dataset: Dataset, index: int, rng: np.random.Generator, config: TrainConfig, epoch: int
    ) -> Sample:
        """Return a sample as training gets it in this epoch, on the canvas; randomness comes from rng."""
        ...

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return augmented samples as one batch."""
        ...


@dataclass(frozen=True)
class Share:
    """Which images of each part of a batch are this process's: the rank-th of `ranks` equal slices."""

    rank: int = 0
    ranks: int = 1

    def of_part(self, config: TrainConfig, part: int) -> slice:
        """Return where they stand in the batch."""
        per_part = config.batch_size // config.accumulate
        mine = per_part // self.ranks
        start = part * per_part + self.rank * mine
        return slice(start, start + mine)


WHOLE = Share()


class TrainingLoader(AbstractContextManager["TrainingLoader"]):
    """Owns the cache of decoded images and the worker processes; both live until close().

    An epoch has len(loader) batches, all full: what is left over at its end waits for another shuffle,
    and a data set smaller than one batch is repeated to fill it. A batch comes in config.accumulate parts.
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
        """Decode images until cache_bytes are used, before the workers start, so that they share them.

        Args:
            maker: the task, which makes samples and batches.
            share: of each batch; the shares of all processes together are the batch that one would have.

        Raises:
            DatasetError: the data set is empty, or one of its images cannot be loaded.
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
        # fork shares the cache without copying it; torch.utils.data would pick another start method some day.
        can_fork = "fork" in multiprocessing.get_all_start_methods()
        self._batches: DataLoader[Any] = DataLoader(
            _Parts(cached, config, maker),
            batch_size=None,  # the sampler's draws are of whole parts
            sampler=self._sampler,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if workers and can_fork else None,
            prefetch_factor=2 if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # otherwise each epoch would draw from the global generator
        )

    def __len__(self) -> int:
        return len(self._sampler)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the parts of the batches of one epoch, counted from 0, from those of start_batch on.

        Only one epoch can be under way: starting the next ends the one before.

        Raises:
            DatasetError: an image cannot be loaded.
        """
        self._sampler.epoch, self._sampler.start_batch = epoch, start_batch
        with warnings.catch_warnings():
            # Python 3.12 warns of fork beside threads; these workers touch none of the parent's locks.
            warnings.filterwarnings("ignore", r".*use of fork\(\)", DeprecationWarning)
            batches = iter(self._batches)
        for batch in batches:
            if isinstance(batch, DatasetError):
                raise batch
            yield batch

    def close(self) -> None:
        """Stop the worker processes. An epoch under way must not be continued."""
        iterator = self._batches._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._batches._iterator = None

    def __exit__(self, *_: object) -> None:
        self.close()


class CachedDataset(DatasetView):
    """Keeps the first images of a data set in memory as its task scales them, up to a number of bytes.

    Augmentation scales every image so first of all, and scaling again changes nothing: a cached image
    gives the same sample as one read anew.
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
        """Return it from memory where it is kept, else from the data set."""
        return self._samples[index] if index < len(self._samples) else self._read(index)

    def _read(self, index: int) -> Sample:
        return self._maker.scale(super().load(index), self._input_hw)


@dataclass(frozen=True)
class _Draw:
    """One place in one epoch, as a worker needs it to make its sample."""

    epoch: int
    place: int
    index: int


class _EpochSampler:
    """Lists the draws of each part of each batch of the epoch it is set to.

    The order is that of the whole batches: it depends neither on the share nor on the number of parts.
    """

    def __init__(self, factors: NDArray[np.float64], config: TrainConfig, share: Share) -> None:
        self._factors = factors  # how often each image stands in an epoch, on average
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
        draws = [_Draw(self.epoch, place, int(index)) for place, index in enumerate(order)]
        for batch in range(self.start_batch, len(self)):
            whole = draws[batch * config.batch_size : (batch + 1) * config.batch_size]
            for part in range(config.accumulate):
                yield whole[self._share.of_part(config, part)]


class _Parts(torch.utils.data.Dataset[Batch | DatasetError]):
    """Makes a part of a batch from its draws. An error is returned, to reach the caller as it was raised."""

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
        rng = np.random.default_rng([self._config.seed, draw.epoch, draw.place])
        return self._maker.augment(self._dataset, draw.index, rng, self._config, draw.epoch)


def _start_worker(_worker: int) -> None:
    """Take one thread, and leave signals to the parent; DataLoader ends a worker whose parent is gone.

    Ctrl-C and a service manager signal the whole process group, while the parent still wants its last batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)
