"""What decoders cannot be trusted with is found before they look at a file."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from service.errors import ImageTooLarge, UndecodableImage, UnsupportedImage
from service.pipeline.decode import decode
from service.pipeline.image_decoding import ImageFileError, decode_image
from service.pipeline.image_guards import (
    check_samples,
    gif_size,
    has_frames,
    pixels_of_tile,
    plain_png,
    webp_size,
)
from tests.builders import image_bytes
from tests.image_files import LONG, SHORT, deep, png_with_chunk, tiff_bytes

SIGNED_LONG = 9
SGI_LOG = 34676
GREY = np.arange(240, dtype=np.uint8).reshape(12, 20)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def saved(kind, pixels=COLOUR, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def chunk(name, content=b""):
    return struct.pack(">I", len(content)) + name + content + bytes(4)


def test_of_an_animated_png_only_the_default_image_is_left():
    animated = saved("PNG", save_all=True, append_images=[Image.fromarray(255 - COLOUR)])
    plain = plain_png(animated)
    assert b"acTL" in animated
    assert not any(name in plain for name in (b"acTL", b"fcTL", b"fdAT"))
    decoded = decode(animated, 10**6)
    assert np.array_equal(decoded.pixels, COLOUR)
    assert [note.kind for note in decoded.notes] == ["further-images"]


def test_a_png_keeps_all_chunks_on_which_its_pixels_depend():
    palette = Image.fromarray(COLOUR).quantize(16)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    palette.save(file, "PNG", transparency=3, exif=exif)
    assert plain_png(file.getvalue()) == file.getvalue()
    assert decode(file.getvalue(), 10**6).pixels.shape == (20, 12, 3)


@pytest.mark.parametrize("name", [b"gAMA", b"tEXt", b"sRGB"])
def test_further_chunks_of_a_png_change_no_pixel(name):
    content = {b"gAMA": struct.pack(">I", 45_455), b"tEXt": b"Title\0fish", b"sRGB": b"\0"}[name]
    data = png_with_chunk(COLOUR, name, content)
    assert plain_png(data) == image_bytes(COLOUR)
    with_it = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode(data, 10**6).pixels, with_it[..., ::-1])


def test_a_png_ends_with_its_last_chunk():
    data = image_bytes(COLOUR)
    assert plain_png(data + b"more") == data
    assert plain_png(data[:-12]) == data[:-12]
    for cut in (1, 4, 11):
        with pytest.raises(ValueError, match="cut short"):
            plain_png(data[:-12][:-cut])


def test_a_png_has_at_most_65536_chunks():
    begin = b"\x89PNG\r\n\x1a\n"
    assert plain_png(begin + chunk(b"tEXt") * 65_535 + chunk(b"IEND")) == begin + chunk(b"IEND")
    with pytest.raises(ValueError, match="too many"):
        plain_png(begin + chunk(b"tEXt") * 65_536 + chunk(b"IEND"))


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_size_of_a_webp_is_read_from_each_kind_of_header(options):
    assert webp_size(saved("WEBP", **options)) == (20, 12)


def test_a_webp_is_refused_for_its_size_before_pillow_opens_it():
    head = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"
    size = (1999).to_bytes(3, "little") + (999).to_bytes(3, "little")
    with pytest.raises(ImageTooLarge, match="2,000,000 pixels"):
        decode(head + size, 1_999_999)
    with pytest.raises(UndecodableImage, match="WEBP header"):  # the limit is kept, so Pillow sees the file
        decode(head + size, 2_000_000)
    for cut in (1, 6, 10):
        with pytest.raises(UndecodableImage, match="WEBP header"):
            decode((head + size)[:-cut], 10**6)


@pytest.mark.parametrize(("colours", "needed"), [(0, 1), (1, 1), (2, 3), (3, 1), (5, 4), (6, 3), (8, 3)])
def test_each_pixel_of_a_tiff_has_the_values_that_its_colours_need(colours, needed):
    check_samples(colours, needed)
    with pytest.raises(ValueError, match="too few values"):
        check_samples(colours, needed - 1)


def test_a_tiff_with_too_few_values_is_refused_from_its_header():
    with pytest.raises(UndecodableImage, match="TIFF header") as refused:
        decode(tiff_bytes((GREY[:0], {262: 2})), 10**6)
    assert str(refused.value.__cause__.__cause__) == "too few values for each pixel"


@pytest.mark.parametrize(("tile", "announced"), [((16, 16), 256), ((10, 20), 240), ((1000, 2000), 2_000_000)])
def test_a_tile_of_a_tiff_counts_if_it_is_larger_than_the_image(tile, announced):
    data = tiff_bytes((GREY, {322: tile[1], 323: tile[0]}))
    with pytest.raises(ImageTooLarge, match=f"{announced:,} pixels"):
        decode(data, announced - 1)
    counts = []
    with pytest.raises(ImageFileError, match="TIFF image"):  # it has strips, too
        decode_image(data, check_pixels=counts.append)
    assert counts == [announced]


def test_a_tile_of_a_tiff_has_two_sides():
    assert pixels_of_tile(None, None) == 0
    assert pixels_of_tile(16, 32) == 512
    for sides in ((16, None), (None, 16)):
        with pytest.raises(ValueError, match="one side"):
            pixels_of_tile(*sides)


def test_a_tiff_with_one_side_of_a_tile_is_refused_from_its_header():
    with pytest.raises(UndecodableImage, match="TIFF header") as refused:
        decode(tiff_bytes((GREY[:0], {322: 16})), 10**6)
    assert str(refused.value.__cause__.__cause__) == "a tile with one side"


@pytest.mark.parametrize("tag", [339, 65_000])  # with and without saying that the values are floating-point
def test_a_tiff_whose_values_become_floating_point_is_refused(tag):
    grey = np.full((4, 4, 3), 0.5, np.float32)
    log_luv = cv2.imencode(".tiff", grey, [cv2.IMWRITE_TIFF_COMPRESSION, SGI_LOG])[1].tobytes()
    assert log_luv.count(struct.pack("<HH", 339, SHORT)) == 1
    data = log_luv.replace(struct.pack("<HH", 339, SHORT), struct.pack("<HH", tag, SHORT))
    with pytest.raises(UnsupportedImage, match="save it with 8 or 16 unsigned bits per value"):
        decode(data, 10**6)


def test_numbers_of_a_tiff_may_be_signed():
    data = tiff_bytes((deep(400, 17), {262: 0}))
    row = struct.pack("<HH", 262, LONG)
    assert data.count(row) == 1
    signed = data.replace(row, struct.pack("<HH", 262, SIGNED_LONG))
    assert np.array_equal(decode(signed, 10**6).pixels, decode(data, 10**6).pixels)


def test_of_two_equal_tags_of_a_tiff_the_first_counts():
    data = tiff_bytes((deep(400, 17), {262: 0, 263: 1}))
    twice = data.replace(struct.pack("<HH", 263, LONG), struct.pack("<HH", 262, LONG))
    assert np.array_equal(decode(twice, 10**6).pixels, decode(data, 10**6).pixels)


@pytest.mark.parametrize(("stated", "read"), [(0, 1), (1, 1), (8, 8), (9, 1), (17, 1)])
def test_an_orientation_that_does_not_exist_counts_as_upright(stated, read):
    assert decode(tiff_bytes((GREY, {274: stated})), 10**6).orientation == read


def test_an_avif_without_colours_is_grey():
    decoded = decode(saved("AVIF", GREY, subsampling="4:0:0", quality=100), 10**6)
    assert np.array_equal(decoded.pixels, np.repeat(GREY[..., None], 3, axis=-1))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_frames_of_a_gif_are_counted_without_pillow(frames):
    others = [Image.fromarray(COLOUR + np.uint8(10 * step)) for step in range(1, frames)]
    data = saved("GIF", save_all=True, append_images=others)
    assert has_frames(data) == (frames > 1)
    assert has_frames(data[:-1]) == (frames > 1)  # damage
    assert not has_frames(data[:40])
    assert [note.kind for note in decode(data, 10**6).notes] == ["further-images"] * (frames > 1)


def test_a_gif_is_refused_for_its_first_frame_before_pillow_opens_it():
    assert gif_size(saved("GIF")) == (20, 12)
    frame = b"," + struct.pack("<4H", 999, 0, 1001, 1000) + b"\0\x02\0;"
    data = b"GIF89a" + struct.pack("<HH", 20, 12) + bytes(3) + frame
    assert gif_size(data) == (2000, 1000)
    with pytest.raises(ImageTooLarge, match="2,000,000 pixels"):
        decode(data, 1_999_999)
    with pytest.raises(UndecodableImage, match="GIF header"):
        decode(b"GIF89a\x14\0\x0c", 10**6)


def test_a_gif_has_at_most_200000_blocks_before_its_second_frame():
    head = b"GIF89a" + struct.pack("<HH", 20, 12) + bytes(3)
    assert gif_size(head + b"!\xff" + b"\x01x" * 199_997 + b"\0;" + bytes(9)) == (20, 12)
    with pytest.raises(ValueError, match="too many blocks"):
        gif_size(head + b"!\xff" + b"\x01x" * 199_998 + b"\0;" + bytes(9))
