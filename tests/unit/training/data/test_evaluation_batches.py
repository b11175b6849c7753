import numpy as np
import torch

from tests.unit.training.data.small_data import MemoryDataset, sample
from training.config import PAD_VALUE
from training.data.evaluation import evaluation_batches


def test_every_image_comes_once_in_order_and_the_last_batch_may_be_small():
    dataset = MemoryDataset([sample((32, 64), [], [], str(number)) for number in range(5)])
    batches = list(evaluation_batches(dataset, (64, 64), batch_size=2))
    assert [batch.indices for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [truth.name for batch in batches for truth in batch.truths] == ["0", "1", "2", "3", "4"]


def test_images_are_letterboxed_and_truth_stays_in_source_pixels():
    dataset = MemoryDataset([sample((32, 128), [[10, 4, 20, 8]], [3])])
    (batch,) = evaluation_batches(dataset, (64, 64), batch_size=8)
    assert batch.images.shape == (1, 64, 64, 3)
    assert batch.images.dtype == torch.uint8
    assert (batch.images[0, :24] == PAD_VALUE).all()
    assert (batch.images[0, 24:40] != PAD_VALUE).any(dim=-1).all(), "half as high, in the middle"
    assert (batch.images[0, 40:] == PAD_VALUE).all()
    (truth,) = batch.truths
    assert truth.image_hw == (32, 128)
    np.testing.assert_array_equal(truth.boxes_xyxy, [[10, 4, 20, 8]])
    assert truth.class_ids.tolist() == [3]


def test_no_images_give_no_batches():
    assert list(evaluation_batches(MemoryDataset([]), (64, 64), batch_size=2)) == []
