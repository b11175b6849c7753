"""Every kind of image is read upright; damaged and oversized ones are refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from service.pipeline.decode import decode, silence_decoders
from tests.builders import image_bytes

PLENTY = 1_000_000


def rgb(data, max_pixels=PLENTY):
    return decode(data, max_pixels).pixels


@pytest.fixture(autouse=True)
def quiet():
    silence_decoders()


def sample(height=48, width=64):
    """Left half red, right half blue, with a green top left quarter of the left half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (200, 0, 0)
    pixels[:, width // 2 :] = (0, 0, 200)
    pixels[: height // 2, : width // 4] = (0, 200, 0)
    return pixels


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_lossless_format_comes_back_as_it_was(image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    assert np.array_equal(rgb(image_bytes(sample(), image_format, **options)), sample())


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_comes_back_nearly_as_it_was(options):
    decoded = rgb(image_bytes(sample(), "JPEG", quality=95, subsampling=0, **options))
    assert np.abs(decoded.astype(int) - sample()).mean() < 3


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("L", "JPEG"),
        ("L", "PNG"),
        ("1", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
    ],
)
def test_every_colour_mode_becomes_rgb(mode, image_format):
    pixels = np.full((48, 64, 3), 255, np.uint8)
    pixels[:, 32:] = 0
    decoded = rgb(image_bytes(pixels, image_format, mode))
    assert decoded.shape == (48, 64, 3)
    assert decoded.dtype == np.uint8
    assert decoded[:, :24].min() > 240
    assert decoded[:, 40:].max() < 15


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(image_format):
    pixels = np.full((8, 8), 51 * 257, np.uint16)
    pixels[0, 0] = 65535
    assert (rgb(image_bytes(pixels, image_format))[1:] == 51).all()


def stored_as(upright, orientation):
    """Return the pixels that a camera stores for an upright image, by EXIF orientation."""
    turned = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turned |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    image = Image.fromarray(upright)
    if orientation in turned:
        image = image.transpose(Image.Transpose[turned[orientation]])
    return np.asarray(image)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = image_bytes(stored_as(sample(), orientation), image_format, exif=exif, **options)
    assert decode(data, PLENTY).orientation == orientation
    assert np.array_equal(rgb(data), sample())


@pytest.mark.parametrize("image_format", ["JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_of_a_lossy_format_comes_out_upright(orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.full((48, 64, 3), 40, np.uint8)
    upright[:16, :24] = 200
    decoded = decode(
        image_bytes(stored_as(upright, orientation), image_format, exif=exif, quality=95), PLENTY
    )
    assert decoded.pixels.shape == upright.shape
    assert np.abs(decoded.pixels.astype(int) - upright).mean() < 3


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_read(image_format):
    others = [Image.new("RGB", (64, 48), "white")] * 2
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = image_bytes(sample(), image_format, save_all=True, append_images=others, **options)
    assert [note.kind for note in decode(data, PLENTY).notes] == ["further-images"]
    assert np.array_equal(rgb(data), sample())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_cut_at_any_byte_is_refused(options):
    data = image_bytes(sample(), "JPEG", **options)
    for length in range(3, len(data)):
        with pytest.raises(UndecodableImage):
            decode(data[:length], PLENTY)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_formats_cut_anywhere_are_refused(image_format):
    data = image_bytes(sample(), image_format)
    for length in [*range(16, min(len(data), 200), 7), *range(200, len(data), 53), len(data) - 1]:
        with pytest.raises(UndecodableImage):
            decode(data[:length], PLENTY)


def test_random_bytes_behind_a_magic_number_never_fail_otherwise():
    noise = np.random.default_rng(0)
    heads = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x01\x00\x00WEBPVP8 ", b"BM", b"II*\x00")
    for head in (*heads, b"MM\x00*", b"GIF89a"):
        for _ in range(20):
            with pytest.raises((UndecodableImage, ImageTooLarge)):
                decode(head + noise.bytes(300), PLENTY)


def png_header(width, height):
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_a_huge_png_is_refused_by_its_header_alone():
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(ImageTooLarge, match="3,600,000,000 pixels, and the limit is 1,000,000"):
        decode(png_header(60_000, 60_000) + idat, PLENTY)


def test_the_pixel_limit_itself_is_allowed_and_one_more_is_not():
    data = image_bytes(sample(48, 64), "PNG")
    assert rgb(data, 48 * 64).shape == (48, 64, 3)
    with pytest.raises(ImageTooLarge):
        decode(data, 48 * 64 - 1)


def test_no_bytes_are_refused():
    with pytest.raises(EmptyImage):
        decode(b"", PLENTY)


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"hello", b"\x00"]
)
def test_other_files_are_not_images(data):
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WEBP, BMP, TIFF, GIF"):
        decode(data, PLENTY)


def test_one_pixel_is_an_image():
    assert rgb(image_bytes(np.full((1, 1, 3), 7, np.uint8))).tolist() == [[[7, 7, 7]]]
