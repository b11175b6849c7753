"""The client converts bytes and pixels to upright RGB like the service, and refuses other input."""

import numpy as np
import pytest
from PIL import Image

from clients.errors import BadImage
from clients.image import as_pixels
from service.pipeline.decode import decode, silence_decoders
from tests.builders import image_bytes


@pytest.fixture(autouse=True)
def quiet():
    silence_decoders()


def blocks(height=40, width=64):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (200, 40, 10)
    pixels[height // 2 :, width // 2 :] = (10, 40, 200)
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_like_the_service_does(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = image_bytes(blocks(), "JPEG", exif=exif)
    pixels = as_pixels(data)
    assert pixels.shape == ((40, 64, 3) if orientation < 5 else (64, 40, 3))
    assert np.array_equal(pixels, decode(data, 10**6).pixels)


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [("RGB", "PNG"), ("L", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("RGB", "WEBP")],
)
def test_every_kind_of_image_is_read_like_the_service_does(mode, image_format):
    data = image_bytes(blocks(), image_format, mode)
    assert np.array_equal(as_pixels(data), decode(data, 10**6).pixels)


def test_what_is_not_looked_at_is_a_warning():
    deep = blocks()[..., 0].astype(np.uint16) * 16
    with pytest.warns(UserWarning, match="bits-dropped: the values have 16 bits, of which 12 are used"):
        pixels = as_pixels(image_bytes(deep))
    assert np.array_equal(pixels[..., 0], blocks()[..., 0])


@pytest.mark.parametrize(("head", "name"), [(b"\0\0\0\x18ftypheic", "HEIC"), (b"%PDF-1.7", "PDF")])
def test_another_format_is_refused_by_its_name(head, name):
    with pytest.raises(BadImage, match=f"{name} is not decoded here"):
        as_pixels(head)


def test_bytes_of_any_kind_are_bytes():
    data = image_bytes(blocks())
    for kind in (bytes, bytearray, memoryview):
        assert np.array_equal(as_pixels(kind(data)), blocks())


def test_pixels_stay_as_they_are_and_a_flipped_view_is_laid_out_anew():
    assert np.array_equal(as_pixels(blocks()), blocks())
    flipped = as_pixels(blocks()[::-1, :, ::-1])
    assert flipped.flags.c_contiguous
    assert flipped[-1, 0].tolist() == [10, 40, 200]


@pytest.mark.parametrize("length", [3, 10, 200, -2])
def test_truncated_bytes_are_refused(length):
    data = image_bytes(blocks(), "JPEG")
    with pytest.raises(BadImage, match="truncated"):
        as_pixels(data[:length])


@pytest.mark.parametrize("data", [b"", bytearray()])
def test_no_bytes_are_refused(data):
    with pytest.raises(BadImage, match="no image bytes"):
        as_pixels(data)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(pixels):
    with pytest.raises(BadImage, match="uint8 in RGB order"):
        as_pixels(pixels)


@pytest.mark.parametrize("thing", ["photo.jpg", None, 3, [[1]]])
def test_what_is_no_picture_at_all_is_refused(thing):
    with pytest.raises(BadImage, match="is not an image"):
        as_pixels(thing)
