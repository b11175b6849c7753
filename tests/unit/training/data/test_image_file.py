from collections import Counter

import cv2
import numpy as np
import pytest

from tests.image_files import deep, tiff_bytes
from tests.unit.training.data.small_data import write_image
from training.data.images.image_file import ImageReader, images_by_stem, read_rgb
from training.data.labels.remarks import PARTS_NOT_READ
from training.errors import DatasetError


def test_colours_are_read_as_red_green_blue(tmp_path):
    path = tmp_path / "red.png"
    red_in_opencv_order = np.zeros((2, 3, 3), dtype=np.uint8)
    red_in_opencv_order[..., 2] = 255
    path.write_bytes(cv2.imencode(".png", red_in_opencv_order)[1].tobytes())
    assert read_rgb(path)[0, 0].tolist() == [255, 0, 0]


def test_a_grey_image_gets_three_channels(tmp_path):
    path = tmp_path / "grey.png"
    path.write_bytes(cv2.imencode(".png", np.full((2, 3), 9, dtype=np.uint8))[1].tobytes())
    assert read_rgb(path).shape == (2, 3, 3)


def test_an_image_taken_sideways_is_turned_upright(tmp_path):
    path = tmp_path / "sideways.jpg"
    jpeg = cv2.imencode(".jpg", np.zeros((8, 16, 3), dtype=np.uint8))[1].tobytes()
    # A little-endian EXIF block with one entry: orientation 6, "turn clockwise to view".
    entry = bytes.fromhex("1201 0300 01000000 06000000")
    body = b"Exif\0\0II*\0" + bytes.fromhex("08000000 0100") + entry + bytes(4)
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:])
    assert read_rgb(path).shape == (16, 8, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_what_is_not_an_image_is_named(tmp_path, content):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        DatasetError, match=r"bad\.jpg: (there are no image bytes|this is not an image|cannot be read)"
    ):
        read_rgb(path)


@pytest.mark.parametrize(("bits", "seen"), [(None, 200), (12, 50), (16, 3)])
def test_the_bits_of_a_deep_image_are_found_or_stated(tmp_path, bits, seen):
    (tmp_path / "a.tif").write_bytes(tiff_bytes((deep(800), {})))
    assert read_rgb(tmp_path / "a.tif", bits)[0, 0].tolist() == [seen] * 3


def test_images_of_which_a_part_is_not_looked_at_are_counted_once_and_the_first_is_named(tmp_path, caplog):
    plain, remarks = np.zeros((4, 4), np.uint8), Counter()
    for name, pages in {"a": [deep(800)], "b": [deep(9), plain], "c": [plain, plain], "d": [plain]}.items():
        (tmp_path / f"{name}.tif").write_bytes(tiff_bytes(*[(page, {}) for page in pages]))
    reader = ImageReader(remarks)
    for name in "abcdabcd":
        reader.read(tmp_path / f"{name}.tif")
    assert remarks == {PARTS_NOT_READ["bits-dropped"]: 2, PARTS_NOT_READ["further-images"]: 2}
    assert [record.message.partition(":")[0][-5:] for record in caplog.records] == ["a.tif", "b.tif"]
    assert "of which 10 are used" in caplog.messages[0]


def test_images_are_found_by_stem_whatever_the_case_of_the_suffix(tmp_path):
    for name in ("b.JPG", "a.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    assert list(images_by_stem(tmp_path)) == ["a", "b"]


def test_two_images_of_one_name_are_refused_since_labels_do_not_say_which_they_mean(tmp_path):
    for name in ("1.jpg", "1.png", "2.jpg"):
        write_image(tmp_path / name)
    with pytest.raises(DatasetError, match=r"1\.jpg and 1\.png have the same labels"):
        images_by_stem(tmp_path)
    (tmp_path / "1.png").unlink()
    assert list(images_by_stem(tmp_path)) == ["1", "2"]
