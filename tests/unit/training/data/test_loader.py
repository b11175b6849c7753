import multiprocessing
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from tests.unit.training.data.small_data import MemoryDataset, sample, with_regions
from training.config import AugmentConfig, ModelConfig, TrainConfig
from training.data.loading.batch import BoxBatch
from training.data.loading.loader import CachedDataset, Share, TrainingLoader
from training.data_config import ScenesConfig
from training.errors import DatasetError
from training.tasks.detect import DETECT

CONFIG = TrainConfig(
    model=ModelConfig(class_names=MemoryDataset.class_names, input_hw=(64, 64)),
    train_data=ScenesConfig(),
    augment=AugmentConfig(close_mosaic_epochs=1),
    epochs=3,
    batch_size=4,
    seed=7,
    loader_workers=0,
)
PLAIN = AugmentConfig(
    mosaic=0, hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0
)


def noise_dataset(images):
    rng = np.random.default_rng(0)
    samples = []
    for number in range(images):
        made = sample((48, 64), [[4, 4, 30, 40]] * (number % 3), [number % 4] * (number % 3), str(number))
        noise = rng.integers(0, 256, made.image.shape, dtype=np.uint8)
        samples.append(replace(made, image=noise))
    return MemoryDataset(samples)


def equal(one, two):
    parts = [part.name for part in fields(BoxBatch)]
    return len(one) == len(two) and all(
        torch.equal(getattr(a, part), getattr(b, part))
        for a, b in zip(one, two, strict=True)
        for part in parts
    )


@pytest.fixture(scope="module")
def epochs_without_workers():
    """Both epochs of 14 images in the main process: 3 full batches each."""
    with TrainingLoader(noise_dataset(14), CONFIG, DETECT) as loader:
        return [list(loader.epoch(epoch)) for epoch in range(2)]


@pytest.mark.parametrize(("workers", "started"), [(2, 2), (3, 3), (4, 3), (1000, 3)])
def test_there_are_no_more_workers_than_batches_in_an_epoch(workers, started):
    with TrainingLoader(noise_dataset(14), replace(CONFIG, loader_workers=workers), DETECT) as loader:
        assert len(list(loader.epoch(0))) == 3
        assert len(multiprocessing.active_children()) == started


def test_a_batch_names_the_image_of_each_object():
    three = [sample((64, 64), [[0, 0, 32, 32]] * count, [count] * count) for count in (0, 1, 2)]
    config = replace(CONFIG, augment=PLAIN, batch_size=3)
    with TrainingLoader(MemoryDataset(three), config, DETECT) as loader:
        (batch,) = loader.epoch(0)
    assert batch.images.shape == (3, 64, 64, 3)
    assert batch.images.dtype == torch.uint8
    assert (batch.boxes_xyxy.shape, batch.boxes_xyxy.dtype) == ((3, 4), torch.float32)
    assert (batch.class_ids.dtype, batch.image_ids.dtype) == (torch.int64, torch.int64)
    assert sorted(batch.class_ids.tolist()) == [1, 2, 2]
    # The image with two objects owns two entries, in one run.
    assert batch.image_ids.tolist() == sorted(batch.image_ids.tolist())
    assert sorted(torch.bincount(batch.image_ids, minlength=3).tolist()) == [0, 1, 2]


def test_a_batch_without_objects_keeps_its_shapes():
    config = replace(CONFIG, augment=PLAIN, batch_size=1)
    with TrainingLoader(MemoryDataset([sample((64, 64), [], [])]), config, DETECT) as loader:
        (batch,) = loader.epoch(0)
    assert batch.boxes_xyxy.shape == (0, 4)
    assert batch.image_ids.shape == (0,)
    assert batch.to("cpu").class_ids.dtype == torch.int64


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(epochs_without_workers, workers):
    with TrainingLoader(noise_dataset(14), replace(CONFIG, loader_workers=workers), DETECT) as loader:
        assert equal(list(loader.epoch(0)), epochs_without_workers[0])
        assert equal(list(loader.epoch(1, start_batch=2)), epochs_without_workers[1][2:])


def test_an_epoch_resumed_in_its_middle_goes_on_as_if_never_stopped(epochs_without_workers):
    with TrainingLoader(noise_dataset(14), CONFIG, DETECT) as loader:
        assert equal(list(loader.epoch(1, start_batch=1)), epochs_without_workers[1][1:])
        assert list(loader.epoch(1, start_batch=3)) == []


def test_an_epoch_left_early_does_not_leak_into_the_next(epochs_without_workers):
    with TrainingLoader(noise_dataset(14), replace(CONFIG, loader_workers=2), DETECT) as loader:
        next(loader.epoch(0))
        assert equal(list(loader.epoch(1)), epochs_without_workers[1])


def test_epochs_differ(epochs_without_workers):
    assert not equal(*epochs_without_workers)


def test_without_augmentation_an_epoch_shows_each_image_once():
    with TrainingLoader(noise_dataset(12), replace(CONFIG, augment=PLAIN), DETECT) as loader:
        images = torch.cat([batch.images for batch in loader.epoch(0)])
    assert len(torch.unique(images.flatten(1), dim=0)) == 12


@pytest.mark.parametrize(("images", "batches"), [(1, 1), (3, 1), (4, 1), (7, 1), (8, 2)], ids=str)
def test_every_batch_is_full(images, batches):
    with TrainingLoader(noise_dataset(images), CONFIG, DETECT) as loader:
        sizes = [len(batch.images) for batch in loader.epoch(0)]
        assert len(loader) == batches
    assert sizes == [4] * batches


def test_an_image_repeated_to_fill_a_batch_is_augmented_anew():
    with TrainingLoader(noise_dataset(1), CONFIG, DETECT) as loader:
        (batch,) = loader.epoch(0)
    assert (batch.images[0] != batch.images[1]).any()


def test_mosaic_ends_with_the_last_epochs():
    # Without mosaic and other changes an image of the canvas's shape comes out as it went in.
    config = replace(CONFIG, augment=replace(PLAIN, mosaic=1.0, close_mosaic_epochs=1), batch_size=1)
    dataset = MemoryDataset([sample((64, 64), [[8, 8, 40, 40]], [2])])
    with TrainingLoader(dataset, config, DETECT) as loader:
        last_with, without = (next(iter(loader.epoch(epoch))) for epoch in (1, 2))
    assert torch.equal(without.images[0], torch.from_numpy(dataset.load(0).image))
    assert not torch.equal(last_with.images, without.images)


def test_loading_leaves_the_global_generators_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with TrainingLoader(noise_dataset(4), CONFIG, DETECT) as loader:
        list(loader.epoch(0))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_loaded_ends_the_epoch_with_its_own_message(workers):
    dataset = MemoryDataset([sample((64, 64), [], []), None])
    config = replace(CONFIG, augment=PLAIN, batch_size=2, loader_workers=workers)
    with (
        TrainingLoader(dataset, config, DETECT, cache_bytes=1) as loader,
        pytest.raises(DatasetError, match=r"^image 1 is torn$"),
    ):
        list(loader.epoch(0))


def test_an_empty_data_set_is_refused():
    with pytest.raises(DatasetError, match="no images"):
        TrainingLoader(MemoryDataset([]), CONFIG, DETECT)


def test_closing_ends_the_worker_processes():
    before = len(multiprocessing.active_children())
    loader = TrainingLoader(noise_dataset(8), replace(CONFIG, loader_workers=2), DETECT)
    next(loader.epoch(0))
    assert len(multiprocessing.active_children()) == before + 2
    loader.close()
    assert len(multiprocessing.active_children()) == before


def test_the_cache_stops_at_its_limit_and_changes_no_sample():
    dataset = noise_dataset(5)
    one_image = 48 * 64 * 3
    cached, uncached = (CachedDataset(dataset, (64, 64), DETECT) for _ in range(2))
    cached.fill(2 * one_image)
    cached.fill(5 * one_image)  # already filled
    assert dataset.loads == 2
    for index in range(5):
        np.testing.assert_array_equal(cached.load(index).image, uncached.load(index).image)
        np.testing.assert_array_equal(cached.load(index).boxes_xyxy, uncached.load(index).boxes_xyxy)
    assert cached.encoded(3) == b"image 3"


def test_a_large_image_is_kept_at_the_size_training_uses():
    dataset = MemoryDataset([sample((128, 256), [[0, 0, 128, 64]], [0])])
    cached = CachedDataset(dataset, (64, 64), DETECT)
    cached.fill(10**6)
    kept = cached.load(0)
    assert kept.image.shape == (32, 64, 3)
    np.testing.assert_array_equal(kept.boxes_xyxy, [[0, 0, 32, 16]])


def test_ignored_regions_reach_the_batch_with_their_images():
    one, none = sample((64, 64), [[4, 4, 30, 40]], [1]), sample((32, 32), [], [])
    two = with_regions(none, [[0, 0, 8, 8], [16, 16, 32, 24]])  # drawn twice as large on the canvas
    config = replace(CONFIG, augment=PLAIN, batch_size=3)
    with TrainingLoader(MemoryDataset([one, none, two]), config, DETECT) as loader:
        (batch,) = loader.epoch(0)
    owner = batch.ignored_image_ids.tolist()
    assert owner == [owner[0]] * 2
    assert batch.ignored_xyxy.tolist() == [[0, 0, 16, 16], [32, 32, 64, 48]]
    assert (batch.images[owner[0], 40, 40] == torch.tensor([250, 250, 0])).all()
    assert batch.to("cpu").ignored_xyxy.shape == (2, 4)


def test_images_without_regions_make_an_empty_part_of_the_batch():
    with TrainingLoader(noise_dataset(4), CONFIG, DETECT) as loader:
        batch = next(loader.epoch(0))
    assert (batch.ignored_xyxy.shape, batch.ignored_image_ids.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(("ranks", "accumulate"), [(2, 1), (1, 2), (2, 2)])
def test_parts_and_shares_together_are_the_batch_of_one_process(epochs_without_workers, ranks, accumulate):
    config = replace(CONFIG, accumulate=accumulate)
    of_ranks = []
    for rank in range(ranks):
        with TrainingLoader(noise_dataset(14), config, DETECT, share=Share(rank, ranks)) as loader:
            assert len(loader) == 3
            of_ranks.append(list(loader.epoch(1, start_batch=1)))
    for number, whole in enumerate(epochs_without_workers[1][1:]):
        pieces = [
            of_ranks[rank][number * accumulate + part] for part in range(accumulate) for rank in range(ranks)
        ]
        assert torch.equal(torch.cat([piece.images for piece in pieces]), whole.images)
        assert torch.equal(torch.cat([piece.boxes_xyxy for piece in pieces]), whole.boxes_xyxy)
        first_image = torch.arange(len(pieces)) * (4 // len(pieces))
        ids = [piece.image_ids + first for piece, first in zip(pieces, first_image, strict=True)]
        assert torch.equal(torch.cat(ids), whole.image_ids)


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_classes_of_an_image_are_those_of_its_labels_whether_it_is_in_memory_or_not(cache_bytes):
    class Labelled(MemoryDataset):
        def class_ids(self, index):
            return np.array([7, 8])  # of which decoding shows one alone

    dataset = Labelled([sample((16, 16), [[0, 0, 8, 8]], [1])])
    cached = CachedDataset(dataset, (16, 16), DETECT)
    cached.fill(cache_bytes)
    assert cached.class_ids(0).tolist() == [7, 8]
