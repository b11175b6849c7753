"""Bits, pages, damage and transparency of image files: what is looked at, and what is noted."""

import contextlib
import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from service.pipeline.image_decoding import ImageFileError, UnsupportedFormat, decode_image
from tests.builders import image_bytes
from tests.image_files import deep, png_with_chunk, tiff_bytes


def kinds(data, **options):
    return [note.kind for note in decode_image(data, **options).notes]


def first_row(data, **options):
    return decode_image(data, **options).pixels[0, :, 0].tolist()


# ---- bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [image_bytes, lambda pixels: tiff_bytes((pixels, {}))], ids=["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "seen"),
    [
        (255, 255),
        (256, 64),  # 10 bits: a quarter
        (1023, 255),
        (1024, 64),  # 12 bits
        (4095, 255),
        (4096, 64),  # 14 bits
        (16383, 255),
        (16384, 64),  # 16 bits
        (65535, 255),
    ],
)
def test_the_largest_value_tells_how_many_bits_a_file_holds(write, largest, seen):
    data = write(deep(largest, largest // 2))
    assert first_row(data)[:2] == [seen, seen // 2]
    assert kinds(data) == ["bits-dropped"]


def test_a_colour_image_of_12_bits_is_that_of_8_bits():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    for suffix in (".png", ".tif"):
        data = cv2.imencode(suffix, pixels[..., ::-1].astype(np.uint16) * 16)[1].tobytes()
        assert np.array_equal(decode_image(data).pixels, pixels)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        pytest.param(png_with_chunk(deep(800), b"sBIT", [12]), 50, id="PNG: sBIT 12"),
        pytest.param(png_with_chunk(deep(800), b"sBIT", [16]), 3, id="PNG: sBIT 16, a dark image"),
        pytest.param(png_with_chunk(deep(51200), b"sBIT", [12]), 200, id="PNG: sBIT 12, spread over 16"),
        pytest.param(png_with_chunk(deep(800), b"sBIT", [4]), 200, id="PNG: sBIT below 8 tells nothing"),
        pytest.param(tiff_bytes((deep(800), {281: 4095})), 50, id="TIFF: MaxSampleValue 4095"),
        pytest.param(tiff_bytes((deep(800), {281: 65535})), 3, id="TIFF: MaxSampleValue 65535"),
        pytest.param(
            image_bytes(deep(800), "TIFF", description='<Pixels SignificantBits="12"/>'), 50, id="OME-TIFF"
        ),
    ],
)
def test_the_header_is_believed_before_the_values(data, seen):
    assert first_row(data)[0] == seen


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_values_are_read_with_their_own_bits(bits):
    dark = 1 << (bits - 4)  # a sixteenth of the range
    data = tiff_bytes((deep(dark), {}), bits=bits)
    assert first_row(data)[0] == 16
    assert f"the values have {bits} bits" in decode_image(data).notes[0].sentence


@pytest.mark.parametrize(("bits", "seen"), [(8, 255), (12, 50), (16, 3), (None, 200)])
def test_the_caller_may_state_the_bits(bits, seen):
    assert first_row(image_bytes(deep(800)), bits=bits)[0] == seen


def test_stated_bits_change_no_file_of_8_bits():
    pixels = np.full((4, 4, 3), 77, np.uint8)
    assert np.array_equal(decode_image(image_bytes(pixels), bits=12).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_0_is_white_is_not_a_negative(dtype):
    black = np.iinfo(dtype).max
    data = tiff_bytes((np.array([[0, black]], dtype), {262: 0}))
    assert first_row(data) == [255, 0]


def test_an_avif_of_10_bits_is_noted():
    data = cv2.imencode(".avif", np.full((16, 16, 3), 512, np.uint16), [cv2.IMWRITE_AVIF_DEPTH, 10])[
        1
    ].tobytes()
    assert kinds(data) == ["bits-dropped"]
    assert abs(first_row(data)[0] - 128) < 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff_bytes((np.ones((4, 4), np.float32), {}), sample_format=3), "floating-point"),
        (tiff_bytes((np.ones((4, 4), np.float64), {}), sample_format=3), "floating-point"),
        (tiff_bytes((np.ones((4, 4), np.int16), {}), sample_format=2), "signed"),
        (tiff_bytes((np.ones((4, 4), np.uint32), {})), "32-bit"),
        (cv2.imencode(".tif", np.ones((4, 4, 3), np.float32))[1].tobytes(), "floating-point"),
    ],
)
def test_a_tiff_without_a_black_and_a_white_is_refused_by_its_type(data, words):
    with pytest.raises(UnsupportedFormat, match=words):
        decode_image(data)


# ---- pages and frames ------------------------------------------------------------------------

SMALL, LARGE = np.full((2, 3), 9, np.uint8), np.full((6, 9), 200, np.uint8)
REDUCED, MASK = {254: 1}, {254: 4}


@pytest.mark.parametrize(
    ("pages", "shape", "noted"),
    [
        pytest.param([(LARGE, {})], (6, 9), [], id="one page"),
        pytest.param([(SMALL, REDUCED), (LARGE, {})], (6, 9), [], id="thumbnail first"),
        pytest.param([(LARGE, {}), (SMALL, REDUCED), (SMALL, REDUCED)], (6, 9), [], id="pyramid"),
        pytest.param([(LARGE, {}), (LARGE, MASK)], (6, 9), [], id="mask"),
        pytest.param([(SMALL, {255: 2}), (LARGE, {})], (6, 9), [], id="the old tag of a thumbnail"),
        pytest.param([(SMALL, {}), (LARGE, {})], (2, 3), ["further-images"], id="two pages"),
        pytest.param([(SMALL, REDUCED)], (2, 3), ["preview-only"], id="only a thumbnail"),
    ],
)
def test_the_first_whole_page_of_a_tiff_is_read_and_others_are_noted(pages, shape, noted):
    data = tiff_bytes(*pages)
    assert decode_image(data).pixels.shape[:2] == shape
    assert kinds(data) == noted


def test_pixels_are_counted_on_the_page_that_is_read():
    counts = []
    decode_image(tiff_bytes((SMALL, REDUCED), (LARGE, {})), check_pixels=counts.append)
    assert counts == [54]


def test_pages_are_counted_up_to_a_limit():
    assert "first of 63 pages" in decode_image(tiff_bytes(*[(SMALL, {})] * 63)).notes[0].sentence
    assert "first of more than 63 pages" in decode_image(tiff_bytes(*[(SMALL, {})] * 64)).notes[0].sentence


@pytest.mark.parametrize("big", [False, True])
def test_both_kinds_of_tiff_with_both_orders_of_bytes_are_read(big):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    data = image_bytes(pixels, "TIFF", big_tiff=big)
    assert np.array_equal(decode_image(data).pixels, pixels)
    moved = b"MM\x00*" + struct.pack(">I", 8) + struct.pack(">H", 9)
    for tag, value in (
        (256, 2),
        (257, 1),
        (258, 16),
        (259, 1),
        (262, 1),
        (273, 122),
        (277, 1),
        (278, 1),
        (279, 4),
    ):
        moved += struct.pack(">HHIHH", tag, 3, 1, value, 0)
    assert first_row(moved + bytes(4) + struct.pack(">HH", 4095, 800)) == [255, 50]


@pytest.mark.parametrize(("tags", "read"), [(4096, True), (4097, False)])
def test_tags_are_counted_up_to_a_limit(tags, read):
    data = tiff_bytes((SMALL, {1000 + i: 0 for i in range(tags - 10)}))
    if read:
        assert decode_image(data).pixels.shape == (2, 3, 3)
    else:
        with pytest.raises(ImageFileError, match="TIFF header is truncated or damaged"):
            decode_image(data)


def test_a_chain_of_pages_that_bites_its_tail_ends():
    data = bytearray(tiff_bytes((LARGE, {})))
    end = len(data) - LARGE.size - 4
    data[end : end + 4] = (8).to_bytes(4, "little")  # the next page is the first
    assert kinds(bytes(data)) == []


@pytest.mark.parametrize("tags", [REDUCED | {330: 8}, {262: 32803}])
def test_a_raw_file_that_looks_like_tiff_is_refused_as_raw(tags):
    with pytest.raises(UnsupportedFormat, match="RAW is not decoded here"):
        decode_image(tiff_bytes((SMALL, tags)))


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_one_frame_is_no_animation(image_format):
    assert kinds(image_bytes(np.zeros((8, 8, 3), np.uint8), image_format)) == []


# ---- damage ----------------------------------------------------------------------------------


def photo(**options):
    noise = np.random.default_rng(0).integers(0, 255, (15, 20, 3)).astype(np.uint8)
    return image_bytes(cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC), "JPEG", **options)


def zeroed(data, share):
    at = int(len(data) * share)
    return data[:at] + bytes(20) + data[at + 20 :]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}]
)
def test_damage_inside_a_jpeg_is_noted_and_a_whole_one_is_not(options):
    data = photo(**options)
    assert kinds(data) == []
    assert kinds(data[: len(data) // 2] + b"\xff\xd9") == ["damaged"]
    assert any(kinds(zeroed(data, share)) == ["damaged"] for share in np.linspace(0.4, 0.95, 12))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printed_jpegs_are_whole(mode):
    assert kinds(image_bytes(np.full((16, 16, 3), 90, np.uint8), "JPEG", mode)) == []


def test_a_jpeg_gives_the_pixels_of_opencv():
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"quality": 20}):
        data = photo(**options)
        opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(decode_image(data).pixels, opencv)


@pytest.mark.parametrize("bits", [None, 12])
def test_a_tiff_with_planes_of_more_than_8_bits_is_refused_by_its_type(bits):
    planes = {277: 3, 284: 2}
    with pytest.raises(
        UnsupportedFormat, match=f"TIFF with {bits or 16} bits per value and a plane for each"
    ):
        decode_image(tiff_bytes((deep(9), planes), bits=bits))
    assert first_row(tiff_bytes((deep(9), {277: 1, 284: 2}))) == [9, 0, 0, 0]
    assert first_row(tiff_bytes((deep(9), {277: 1, 284: 1}))) == [9, 0, 0, 0]


# ---- transparency ----------------------------------------------------------------------------


def with_alpha(image_format, alpha):
    pixels = np.dstack([np.full((8, 8, 3), 50, np.uint8), np.full((8, 8), 255, np.uint8)])
    pixels[0, 0, 3] = alpha
    buffer = io.BytesIO()
    options = {"lossless": True} if image_format == "WEBP" else {}
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_one_pixel_that_is_not_opaque_is_noted(image_format):
    assert kinds(with_alpha(image_format, 255)) == []
    assert kinds(with_alpha(image_format, 0)) == ["transparency-dropped"]


@pytest.mark.parametrize(("image_format", "seen"), [("PNG", 100), ("WEBP", 100), ("TIFF", 50)])
def test_the_note_tells_how_transparent_pixels_are_seen(image_format, seen):
    pixels = np.full((8, 8, 4), (100, 100, 100, 128), np.uint8)
    options = {"lossless": True} if image_format == "WEBP" else {}
    decoded = decode_image(image_bytes(pixels, image_format, **options))
    assert abs(int(decoded.pixels[0, 0, 0]) - seen) <= 1
    ((_, sentence),) = decoded.notes
    assert sentence.endswith("looked at in the colour stored below" if seen == 100 else "looked at darkened")


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
@pytest.mark.parametrize(("transparent", "noted"), [(0, ["transparency-dropped"]), (7, [])])
def test_a_palette_whose_transparent_colour_is_used_is_noted(image_format, transparent, noted):
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 8)
    buffer = io.BytesIO()
    palette.save(buffer, image_format, transparency=transparent, optimize=False)
    assert kinds(buffer.getvalue()) == noted


# ---- other files -----------------------------------------------------------------------------


def container(brand):
    return b"\x00\x00\x00\x18ftyp" + brand + bytes(4) + b"mif1" + brand


@pytest.mark.parametrize(
    ("head", "name"),
    [
        *(
            (
                image_bytes(np.zeros((8, 8, 3), np.uint8), kind).decode(*how).encode(),
                "an image read as text",
            )
            for kind in ("JPEG", "PNG")
            for how in (("latin-1",), ("utf-8", "replace"))
        ),
        (container(b"heic"), "HEIC"),
        (container(b"mif1"), "HEIC"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42", "video"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "video"),
        (b"\x1a\x45\xdf\xa3webm", "video"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", "RAW"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "RAW"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"P6\n2 2\n255\n", "PNM"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"\x93NUMPY\x01", "NumPy"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    ],
)
def test_a_format_that_is_not_decoded_is_refused_by_its_name(head, name):
    with pytest.raises(UnsupportedFormat, match=f"^{name} is not decoded here; "):
        decode_image(head)


def test_damaged_exif_turns_nothing():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = image_bytes(np.zeros((8, 16, 3), np.uint8), "JPEG", exif=exif).replace(
        b"Exif\0\0MM", b"Exif\0\0XX"
    )
    assert decode_image(data).pixels.shape == (8, 16, 3)


def test_a_truncated_tiff_of_two_pages_is_refused_or_read_but_never_fails_otherwise():
    data = tiff_bytes((LARGE, {}), (SMALL, {}))
    for length in range(8, len(data), 5):
        with contextlib.suppress(ImageFileError):
            decode_image(data[:length])
