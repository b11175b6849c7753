"""Worker processes that are killed, crash, hang or fail end with one sentence that names the image."""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.unit.training.data.small_data import MemoryDataset, sample
from training.config import AugmentConfig, ModelConfig, TrainConfig
from training.data.loading import workers
from training.data.loading.loader import TrainingLoader, default_workers
from training.data_config import ScenesConfig
from training.errors import DatasetError, LoaderError
from training.tasks.detect import DETECT

ROOT = Path(__file__).resolve().parents[4]
CONFIG = TrainConfig(
    model=ModelConfig(class_names=MemoryDataset.class_names, input_hw=(64, 64)),
    train_data=ScenesConfig(),
    augment=AugmentConfig(mosaic=0, translate=0, scale=0),
    epochs=3,
    batch_size=1,
    loader_workers=2,
)


class Images(MemoryDataset):
    """Twelve grey images; `on_load` may do something at an image."""

    def __init__(self, on_load=lambda index: None):
        super().__init__([sample((64, 64), [[4, 4, 30, 30]], [1])] * 12)
        self._on_load = on_load

    def load(self, index, fit=None):
        self._on_load(index)
        return super().load(index, fit)


def at(image, act):
    """Return an on_load that acts at one image, and only in a worker process."""
    parent = os.getpid()
    return lambda index: act() if index == image and os.getpid() != parent else None


def loader_of(dataset, config=CONFIG):
    return TrainingLoader(dataset, config, DETECT, cache_bytes=0)


def die(number):
    faulthandler.disable()  # pytest's would print where
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("act", "how"),
    [
        pytest.param(lambda: die(signal.SIGKILL), "by SIGKILL", id="killed, as when memory runs out"),
        pytest.param(lambda: die(signal.SIGSEGV), "by SIGSEGV", id="segmentation fault"),
        pytest.param(lambda: die(signal.SIGBUS), "by SIGBUS", id="bus error"),
        pytest.param(lambda: os._exit(3), "with exit code 3", id="exit"),
        pytest.param(lambda: sys.exit(4), "with exit code 4", id="sys.exit in a reader"),
    ],
)
def test_a_worker_that_dies_ends_the_epoch_with_its_last_image(act, how, recwarn):
    with loader_of(Images(at(5, act))) as loader:
        with pytest.raises(LoaderError, match=f"^a loader process ended {how}; .*image-5.png") as failed:
            list(loader.epoch(0))
        assert ("when memory runs out" in str(failed.value)) == (how == "by SIGKILL")
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_between_batches_is_noticed():
    with loader_of(Images()) as loader:
        epoch = loader.epoch(0)
        next(epoch)
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(LoaderError, match="by SIGKILL"):
            list(epoch)


def test_a_child_of_a_dead_worker_does_not_keep_training_waiting(monkeypatch):
    monkeypatch.setattr(workers, "CHECK_S", 0.05)

    def fork_and_die():
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        die(signal.SIGKILL)

    with loader_of(Images(at(5, fork_and_die))) as loader:
        started = time.monotonic()
        with pytest.raises(LoaderError, match="by SIGKILL"):
            list(loader.epoch(0))
        assert time.monotonic() - started < 2.5


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first}\n{second}")


def fail():
    raise Unpicklable("no such", "tile")


@pytest.mark.parametrize("count", [0, 2])
def test_an_exception_of_a_reader_names_the_file_and_the_line_of_code(count):
    dataset = Images(lambda index: fail() if index == 5 else None)
    message = r"^image-5.png: cannot be read \(Unpicklable: no such tile, test_workers.py line \d+\)$"
    with (
        loader_of(dataset, replace(CONFIG, loader_workers=count)) as loader,
        pytest.raises(DatasetError, match=message),
    ):
        list(loader.epoch(0))


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero", id="own"),
        pytest.param(cv2.error("bad size"), "error: bad size", id="OpenCV"),
        pytest.param(MemoryError(), "MemoryError:", id="memory"),
    ],
)
def test_an_exception_in_augmentation_names_the_image(count, error, said):
    class Failing:
        scale, collate = DETECT.scale, DETECT.collate

        def augment(self, dataset, index, *others):
            if index == 5:
                raise error
            return DETECT.augment(dataset, index, *others)

    config = replace(CONFIG, loader_workers=count)
    with (
        TrainingLoader(Images(), config, Failing()) as loader,
        pytest.raises(DatasetError, match=rf"^image-5.png: augmenting it failed \({said}"),
    ):
        list(loader.epoch(0))


def test_a_stopped_worker_is_reported_once_and_ends_with_the_loader(monkeypatch, caplog):
    monkeypatch.setattr(workers, "CHECK_S", 0.25)
    monkeypatch.setattr(workers, "SLOW_S", 0.5)

    class Enough(Exception):
        pass

    def enough(number, frame):
        raise Enough

    with loader_of(Images(at(5, lambda: die(signal.SIGSTOP)))) as loader:
        before = signal.signal(signal.SIGALRM, enough)
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        try:
            with pytest.raises(Enough):
                list(loader.epoch(0))
        finally:
            signal.signal(signal.SIGALRM, before)
    waiting = [record.message for record in caplog.records if "image-5.png" in record.message]
    assert len(waiting) == 1
    assert waiting[0].startswith("waiting for a batch for 0 s; loader process ")
    assert multiprocessing.active_children() == []


def test_a_worker_that_cannot_start_is_an_error_that_says_what_to_do(monkeypatch):
    def no_fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    with loader_of(Images()) as loader:
        message = r"cannot start \(Resource temporarily unavailable\); use --workers 0"
        with pytest.raises(LoaderError, match=message):
            next(loader.epoch(0))


def test_where_memory_has_no_names_the_training_process_loads_images(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with loader_of(Images()) as loader:
        assert len(list(loader.epoch(0))) == 12
        assert multiprocessing.active_children() == []


def test_a_batch_stays_as_it_was_while_later_ones_are_made():
    rng = np.random.default_rng(0)
    noise = [
        replace(sample((64, 64), [], []), image=rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        for _ in range(12)
    ]
    config = replace(CONFIG, loader_workers=1, batch_size=2)
    with loader_of(MemoryDataset(noise), config) as loader:
        first, *others = loader.epoch(0)
        copy = first.images.clone()
        list(loader.epoch(1))
    assert torch.equal(first.images, copy), "its memory is its own, also after the workers have ended"
    assert len(others) == 5
    first.images[:] = 0  # and may be written


def test_no_file_descriptor_is_left_over():
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    with loader_of(Images()) as loader:
        list(loader.epoch(0))
        before = open_files()
        list(loader.epoch(1))
        assert open_files() == before


@pytest.mark.parametrize(
    ("cores", "processes", "count"), [(1, 1, 1), (2, 1, 1), (4, 1, 3), (16, 1, 8), (16, 4, 3), (2, 4, 1)]
)
def test_workers_by_default_leave_a_core_to_each_training_process(monkeypatch, cores, processes, count):
    monkeypatch.setattr("training.data.loading.loader.usable_cores", lambda: cores)
    assert default_workers(processes) == count


IN_A_SMALL_SHM = """
mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 77
exec "$0" -c '
from dataclasses import replace
from tests.unit.training.data.test_workers import CONFIG, Images, loader_of
config = replace(CONFIG, batch_size=64, model=replace(CONFIG.model, input_hw=(640, 640)))
with loader_of(Images(), config) as loader:
    print([tuple(batch.images.shape) for batch in loader.epoch(0)])
'
"""


def test_batches_of_64_images_at_640_px_need_no_room_in_dev_shm():
    command = ["unshare", "--mount", "sh", "-c", IN_A_SMALL_SHM, sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"only root may mount a small /dev/shm: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([(64, 640, 640, 3)])
