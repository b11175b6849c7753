"""Shrunk images are smaller, and every box keeps its place relative to its image."""

import cv2
import numpy as np
import pytest

from tests.gpu.shrink import PackError, shrink, shrink_dataset
from training.data.open import open_dataset
from training.data_config import FolderConfig

XML = """<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size><object>
<name>card</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object></annotation>"""


def image_with_a_white_box(hw, box):
    image = np.zeros((*hw, 3), dtype=np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_voc(root, hw, box, name="card.JPG", stated_hw=None):
    """Write a VOC label beside its image, as in playing_cards."""
    write_image(root / "train" / name, image_with_a_white_box(hw, box))
    height, width = stated_hw or hw
    label = XML.format(width=width, height=height, box=box)
    (root / "train" / "card.xml").write_text(label, encoding="utf-8")


def only_sample(root, split="train"):
    dataset = open_dataset(FolderConfig(root=str(root), split=split))
    assert len(dataset) == 1
    return dataset.load(0)


def white_box(image):
    """Return the box (xyxy) around the nearly white pixels."""
    rows, columns = np.nonzero(image.min(axis=2) > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_voc_box_and_the_stated_size_are_scaled_as_the_image(tmp_path):
    write_voc(tmp_path / "whole", (960, 1280), (320, 160, 640, 480))
    shrink_dataset(tmp_path / "whole", tmp_path / "small", quality=90)
    sample = only_sample(tmp_path / "small")
    assert sample.image.shape == (480, 640, 3)
    assert sample.boxes_xyxy.tolist() == [[160, 80, 320, 240]]
    assert np.abs(np.subtract(white_box(sample.image), sample.boxes_xyxy[0])).max() <= 1
    label = (tmp_path / "small" / "train" / "card.xml").read_text(encoding="utf-8")
    assert "<width>640</width><height>480</height>" in label


def test_each_side_is_scaled_by_its_own_rounding(tmp_path):
    # 1000 × 333 becomes 640 × 213: down by 0.64 across, by 213 / 333 down.
    write_voc(tmp_path / "whole", (333, 1000), (0, 0, 1000, 333))
    shrink_dataset(tmp_path / "whole", tmp_path / "small", quality=90)
    sample = only_sample(tmp_path / "small")
    assert sample.image.shape == (213, 640, 3)
    assert sample.boxes_xyxy.tolist() == [[0, 0, 640, 213]]


def test_voc_in_folders_is_packed_with_its_lists(tmp_path):
    root = tmp_path / "whole"
    write_image(root / "JPEGImages" / "cell.jpg", image_with_a_white_box((640, 1280), (0, 0, 128, 64)))
    (root / "Annotations").mkdir()
    label = XML.format(width=1280, height=640, box=(0, 0, 128, 64))
    (root / "Annotations" / "cell.xml").write_text(label, encoding="utf-8")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text("cell\n", encoding="utf-8")
    shrink_dataset(root, tmp_path / "small", quality=90)
    assert only_sample(tmp_path / "small", "val").boxes_xyxy.tolist() == [[0, 0, 64, 32]]


def test_a_yolo_box_is_a_fraction_and_stays_as_it_is_written(tmp_path):
    root = tmp_path / "whole"
    write_image(root / "train" / "images" / "fish.png", image_with_a_white_box((1280, 960), (0, 0, 480, 320)))
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "fish.txt").write_text("0 0.25 0.125 0.5 0.25\n", encoding="utf-8")
    (root / "data.yaml").write_text("names: [fish]\n", encoding="utf-8")
    shrink_dataset(root, tmp_path / "small", quality=90)
    sample = only_sample(tmp_path / "small")
    assert sample.image.shape == (640, 480, 3)
    assert sample.boxes_xyxy.tolist() == [[0, 0, 240, 160]]
    assert np.abs(np.subtract(white_box(sample.image), sample.boxes_xyxy[0])).max() <= 1


@pytest.mark.parametrize(
    ("hw", "shrunk_hw"),
    [
        pytest.param((480, 640), (480, 640), id="640 px: as it is"),
        pytest.param((480, 641), (479, 640), id="641 px: shrunk"),
    ],
)
def test_images_are_shrunk_from_641_px_on(tmp_path, hw, shrunk_hw):
    write_image(tmp_path / "a.png", image_with_a_white_box(hw, (0, 0, 10, 10)))
    assert shrink(tmp_path / "a.png", quality=90).hw == shrunk_hw


def test_a_small_file_that_webp_would_enlarge_is_copied_unchanged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "a.jpg"), noise, [cv2.IMWRITE_JPEG_QUALITY, 5])
    shrunk = shrink(tmp_path / "a.jpg", quality=90)
    assert (shrunk.encoded, shrunk.suffix) == ((tmp_path / "a.jpg").read_bytes(), ".jpg")


def test_a_label_of_another_size_than_its_image_is_refused(tmp_path):
    write_voc(tmp_path / "whole", (960, 1280), (0, 0, 10, 10), stated_hw=(1280, 960))
    with pytest.raises(
        PackError, match=r"card\.xml states 960 × 1280 pixels, but upright its image has 1280 × 960"
    ):
        shrink_dataset(tmp_path / "whole", tmp_path / "small", quality=90)


def test_a_label_without_a_box_side_is_refused_by_name(tmp_path):
    write_voc(tmp_path / "whole", (64, 64), (0, 0, 10, 10))
    label = tmp_path / "whole" / "train" / "card.xml"
    label.write_text(label.read_text(encoding="utf-8").replace("<xmin>0</xmin>", ""), encoding="utf-8")
    with pytest.raises(PackError, match=r"card\.xml: malformed \(it has no xmin\)"):
        shrink_dataset(tmp_path / "whole", tmp_path / "small", quality=90)


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(PackError, match=r"a\.jpg: not an image"):
        shrink(tmp_path / "a.jpg", quality=90)
