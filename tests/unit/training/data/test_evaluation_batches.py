import numpy as np
import torch

from tests.builders import image_bytes
from tests.unit.training.data.small_data import MemoryDataset, sample
from training.config import PAD_VALUE
from training.data.evaluation import evaluation_batches
from training.data.images.letterbox import Letterbox
from training.data.images.reduced_jpeg import Fit
from training.data.readers.yolo_txt import read_yolo


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


def test_a_large_jpeg_is_decoded_at_a_smaller_size_and_its_labels_stay_in_source_pixels(tmp_path):
    image = np.zeros((301, 403, 3), np.uint8)
    image[100:200, 50:350] = 255
    for folder in ("images", "labels"):
        (tmp_path / "val" / folder).mkdir(parents=True)
    (tmp_path / "val" / "images" / "one.jpg").write_bytes(image_bytes(image, "JPEG"))
    line = f"0 {200 / 403} {150 / 301} {300 / 403} {100 / 301}\n"
    (tmp_path / "val" / "labels" / "one.txt").write_text(line)
    (tmp_path / "data.yaml").write_text("val: val/images\nnames: [plate]\n")
    dataset = read_yolo(tmp_path, "val")
    whole, reduced = dataset.load(0), dataset.load(0, Fit((64, 64), "letterbox"))
    assert whole.image.shape == (301, 403, 3)
    assert reduced.image.shape == (151, 202, 3)
    assert reduced.source_hw == whole.source_hw == (301, 403)
    (batch,) = evaluation_batches(dataset, (64, 64), batch_size=8)
    (truth,) = batch.truths
    assert truth.image_hw == (301, 403)
    np.testing.assert_allclose(truth.boxes_xyxy, [[50, 100, 350, 200]], atol=1e-3)
    light = batch.images[0, ..., 0].numpy()
    bright = light > (255 + PAD_VALUE) / 2
    rows, columns = (np.flatnonzero(bright.any(axis)) for axis in (1, 0))
    edges = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float32)
    placed = Letterbox.fit((301, 403), (64, 64))
    half = 0.5 / placed.scale  # of a pixel of the model input
    np.testing.assert_allclose(placed.to_source(edges), truth.boxes_xyxy, atol=half + 0.5)
