"""Decode image files to upright RGB with 8 bits per value, and report which parts of a file were not used.

Identical copies of this module are in training/data/images, service/pipeline and clients, so that the same
image file gives the same pixels everywhere. The module imports only image_formats, image_guards and
reduced_jpeg, which are copied with it.
"""

import io
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from . import image_guards
from .image_formats import FORMATS, INSTEAD, name_format
from .reduced_jpeg import WHOLE, Fit, Reduced, decode_jpeg, eighths_for, mirrored, reduced_hw, upright

_OPENERS: Mapping[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "AVIF": AvifImageFile,
}
_ORIENTATION, _SUB_DIRECTORIES = 274, 330  # tags of EXIF and TIFF
_RAW_COLOURS = {32803, 34892}  # TIFF colours of a sensor's own values
_Tags = dict[int, tuple[int, ...]]  # values of a TIFF page, by the number of their tag
_TAGS = {254, 255, 256, 257, 258, 262, 270, _ORIENTATION, 277, 281, 284, 322, 323, _SUB_DIRECTORIES, 338, 339}
_TAG_TYPES = dict(
    zip((1, 2, 3, 4, 6, 8, 9, 13, 16, 17, 18), "BBHIbhiIQqQ", strict=True)
)  # whole numbers, text
_MOST_PAGES, _MOST_TAGS, _MOST_VALUES = 64, 4096, 16384  # limits for a TIFF: a hostile one has millions
_USUAL_BITS = (8, 10, 12, 14, 16)  # used by cameras and scanners; chosen by the largest value
# With IMREAD_COLOR_RGB and IMREAD_ANYDEPTH, OpenCV 5.0 garbles a TIFF with 16 bits per value.
_BGR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
_HEADER_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, struct.error)


class Note(NamedTuple):
    """A note on something in an image file that the decoded pixels do not show."""

    kind: str  # bits-dropped, further-images, preview-only, damaged or transparency-dropped
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"


class Decoded(NamedTuple):
    """The pixels of an image file, with its orientation and notes on what was not used."""

    pixels: NDArray[np.uint8]  # (H, W, 3)  RGB, upright
    orientation: int  # EXIF orientation of the stored pixels, 1 to 8; `pixels` are upright already
    notes: tuple[Note, ...]
    reduced: Reduced | None = None  # where the pixels lie in the image; None: they are all its pixels

    @property
    def source_hw(self) -> tuple[int, int]:
        """Return the height and width of the upright image, which may be larger than `pixels`."""
        return self.reduced.source_hw if self.reduced else (self.pixels.shape[0], self.pixels.shape[1])


class ImageFileError(Exception):
    """The error for an image file that is empty, truncated or damaged; its message says what to do."""


class UnsupportedFormat(ImageFileError):
    """The error for a file in an unsupported format; its message names the format, if it is known."""


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]  # width and height
    orientation: int = 1
    depth: int = 8  # bits per value in the file
    bits: int | None = None  # bits of each value that the header calls significant
    page: int = 0  # number of the page in a TIFF
    notes: tuple[Note, ...] = ()
    transparency: bool = False  # whether the file says which pixels are transparent
    inverted: bool = False  # whether 0 is white
    tile_pixels: int = 0  # pixels of a tile of a TIFF; a tile can be larger than the image
    darkened: bool = False  # whether the decoder multiplies the values by the opacity

    @property
    def upright_hw(self) -> tuple[int, int]:
        return self.size if self.orientation >= 5 else self.size[::-1]


def decode_image(
    data: bytes,
    *,
    bits: int | None = None,
    check_pixels: Callable[[int], None] | None = None,
    fit: Fit | None = None,
) -> Decoded:
    """Return the upright RGB pixels of an image file.

    A camera's file with 16 bits per value often uses only the lower 10 to 14 of them. The result holds the
    upper 8 of the used bits. The number of used bits is `bits`, if given. Otherwise, it is the number in the
    header (sBIT of a PNG, MaxSampleValue or SignificantBits of a TIFF), if all values fit into it. Otherwise,
    it is the smallest of 8, 10, 12, 14 and 16 that can hold the largest value. Because of this last rule, a
    very dark image that uses 16 bits becomes too bright.

    Args:
        bits: number of used bits in a file with 16 bits per value, 8 to 16; larger values become white.
        check_pixels: function that may raise an error; it is called before decoding, with the number of
            pixels that the header announces for the image, or for one tile if a tile is larger.
        fit: model input that the image will be fitted into; a JPEG that is much larger is decoded at a
            smaller size. With None, every image is decoded at its own size.

    Raises:
        ImageFileError: the file is empty, damaged, or of a format that is not one of FORMATS.
        MemoryError: there is too little memory for the pixels.
    """
    if not data:
        raise ImageFileError("there are no image bytes; give the whole file")
    name = name_format(data)
    if name not in FORMATS:
        raise _unsupported(name)
    header = _read_header(name, data, check_pixels)
    if check_pixels is not None:
        check_pixels(max(header.size[0] * header.size[1], header.tile_pixels))
    image_guards.check_memory(header.size[0] * header.size[1], 2 if header.depth > 8 else 1)
    eighths = eighths_for(header.upright_hw, fit) if name == "JPEG" else WHOLE
    try:
        stored, damage = _decode(name, data, header, eighths)
        transparency = _transparency(name, data, header)
    except Exception as error:  # decoders raise many kinds of errors for damaged bytes
        raise _undecodable(f"the {name} image is truncated, damaged, or of an unusual type") from error
    if stored.dtype not in (np.uint8, np.uint16):
        raise _without_range("floating-point")
    reduced = None
    if sorted(stored.shape[:2]) != sorted(header.size):
        if eighths == WHOLE or stored.shape[:2] != reduced_hw(header.upright_hw, eighths):
            size = " x ".join(map(str, header.size))
            raise _undecodable(f"the {name} header announces {size} pixels, but the image has another size")
        reduced = Reduced(header.upright_hw, eighths, *mirrored(header.orientation))
    pixels, dropped = _to_8_bits(stored, header, bits)
    notes = (*header.notes, *dropped, *damage, *transparency)
    return Decoded(np.ascontiguousarray(pixels), header.orientation, notes, reduced)


def _unsupported(name: str) -> UnsupportedFormat:
    what = f"{name} is not decoded here" if name else "this is not an image in a supported format"
    instead = INSTEAD.get(name, "give an image file")
    return UnsupportedFormat(f"{what}; {instead}. Supported are {', '.join(FORMATS)}")


def _without_range(kind: str) -> UnsupportedFormat:
    sentence = f"this TIFF has {kind} values, and does not say which of them are black and white"
    return UnsupportedFormat(f"{sentence}; save it with 8 or 16 unsigned bits per value")


def _undecodable(what: str) -> ImageFileError:
    return ImageFileError(f"{what}; get it again, or save it as a plain JPEG or PNG")


# ---- the header ------------------------------------------------------------------------------


def _read_header(name: str, data: bytes, check_pixels: Callable[[int], None] | None) -> _Header:
    if name in ("WEBP", "GIF") and check_pixels is not None:
        width, height = _size_before_pillow(name, data)
        check_pixels(width * height)
    try:
        if name == "TIFF":
            return _tiff_header(data)
        # Use the format's own class, because Image.open has its own global pixel limit.
        with _OPENERS[name](io.BytesIO(data)) as image:
            return _other_header(name, data, image)
    except ImageFileError:
        raise
    except Exception as error:  # header parsers raise many kinds of errors for damaged bytes
        raise _undecodable(f"the {name} header is truncated or damaged") from error


def _size_before_pillow(name: str, data: bytes) -> tuple[int, int]:
    try:
        return image_guards.webp_size(data) if name == "WEBP" else image_guards.gif_size(data)
    except (ValueError, struct.error) as error:
        raise _undecodable(f"the {name} header is truncated or damaged") from error


def _other_header(name: str, data: bytes, image: ImageFile) -> _Header:
    notes, depth, bits = [], 8, None
    if image_guards.has_frames(data) if name == "GIF" else getattr(image, "is_animated", False):
        notes.append(Note("further-images", "only the first frame of the animation is looked at"))
    if name == "PNG":
        depth, bits = data[24], _png_significant_bits(data)
    if name == "AVIF" and (at := data.find(b"pixi", 0, 4096)) > 0 and (avif_bits := data[at + 9]) > 8:
        notes.append(
            Note("bits-dropped", f"the values have {avif_bits} bits; only the upper 8 of these are looked at")
        )
    orientation = _exif_orientation(image.info.get("exif", b""))
    return _Header(image.size, orientation, depth, bits, 0, tuple(notes), image.has_transparency_data)


def _png_significant_bits(data: bytes) -> int | None:
    """Return the largest number in the chunk sBIT; None if the file has no such chunk before its pixels."""
    at = data.find(b"sBIT", 33, max(data.find(b"IDAT"), 33))
    return max(data[at + 4 : at + 4 + min(data[at - 1], 4)], default=None) if at > 0 else None


def _exif_orientation(encoded: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(encoded)
        return _known_orientation(exif.get(_ORIENTATION, 1))
    except _HEADER_ERRORS:
        return 1  # damaged EXIF data is ignored, as in browsers


def _known_orientation(stated: Any) -> int:
    return int(stated) if stated in range(1, 9) else 1


def _tiff_header(data: bytes) -> _Header:
    """Return the header of a TIFF's first page that is not a reduced version of another page."""
    pages = _tiff_pages(data)
    whole = [i for i, page in enumerate(pages) if not _is_reduced(page)]
    index = whole[0] if whole else 0
    page, notes = pages[index], []
    depth, sample_formats = max(page.get(258, (1,))), set(page.get(339, (1,)))
    colours = page.get(262, (1,))[0]
    if colours in _RAW_COLOURS or (not whole and any(_SUB_DIRECTORIES in each for each in pages)):
        raise _unsupported("RAW")
    if depth > 16 or sample_formats - {1, 4}:  # 1: unsigned, 4: unspecified
        raise _without_range("floating-point" if 3 in sample_formats else f"signed or {depth}-bit")
    if depth > 8 and page.get(284) == (2,) and page.get(277, (1,))[0] > 1:  # OpenCV garbles these
        sentence = f"TIFF with {depth} bits per value and a plane for each colour is not decoded here"
        raise UnsupportedFormat(f"{sentence}; save it with the colours of a pixel side by side (contiguous)")
    image_guards.check_samples(colours, page.get(277, (1,))[0])
    if not whole:
        notes.append(Note("preview-only", "the file calls its only image a reduced version of another image"))
    if len(whole) > 1:
        count = f"more than {_MOST_PAGES - 1}" if len(pages) == _MOST_PAGES else str(len(whole))
        notes.append(Note("further-images", f"only the first of {count} pages is looked at"))
    return _Header(
        size=(page[256][0], page[257][0]),
        orientation=_known_orientation(page.get(_ORIENTATION, (1,))[0]),
        depth=depth,
        bits=_tiff_significant_bits(page, depth),
        page=index,
        notes=tuple(notes),
        transparency=bool({1, 2} & set(page.get(338, ()))),  # kinds of extra values
        inverted=colours == 0 and depth > 8,  # OpenCV inverts only the others
        tile_pixels=image_guards.pixels_of_tile(page.get(322, (None,))[0], page.get(323, (None,))[0]),
        darkened=2 in page.get(338, ()) and depth <= 8,
    )


def _tiff_pages(data: bytes) -> list[_Tags]:
    """Return the tags of a TIFF's pages; pages after damage or beyond _MOST_PAGES are left out."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    seen, pages = {0}, list[_Tags]()
    while at not in seen and len(pages) < _MOST_PAGES:
        seen.add(at)
        try:
            tags, at = _tiff_tags(data, at, order, big=big)
        except (struct.error, ValueError):
            break
        pages.append(tags)
    return pages


def _tiff_tags(data: bytes, at: int, order: str, *, big: bool) -> tuple[_Tags, int]:
    """Return those tags of a page that this module needs, and the position of the next page.

    The function does not use Pillow's reader, which refuses some files that OpenCV decodes. A hostile file
    can also make Pillow's reader slow.
    """
    head, row, word = (f"{order}{code}" for code in (("Q", "HHQ", "Q") if big else ("H", "HHI", "I")))
    (count,) = struct.unpack_from(head, data, at)
    if count > _MOST_TAGS:
        raise ValueError("too many tags")
    at += struct.calcsize(head)
    tags: _Tags = {}
    seen = set()  # if a tag occurs several times, the first counts, as in libtiff
    step = struct.calcsize(row) + struct.calcsize(word)
    for start in range(at, at + count * step, step):
        tag, kind, number = struct.unpack_from(row, data, start)
        if tag in _TAGS and tag not in seen and kind in _TAG_TYPES:
            code, place = _TAG_TYPES[kind], start + struct.calcsize(row)
            if number * struct.calcsize(order + code) > struct.calcsize(word):
                (place,) = struct.unpack_from(word, data, place)
            tags[tag] = struct.unpack_from(f"{order}{min(number, _MOST_VALUES)}{code}", data, place)
        seen.add(tag)
    (following,) = struct.unpack_from(word, data, at + count * step)
    return tags, following


def _is_reduced(page: _Tags) -> bool:
    return bool(page.get(254, (0,))[0] & 5) or page.get(255) == (2,)  # reduced versions, and masks


def _tiff_significant_bits(page: _Tags, depth: int) -> int | None:
    if depth < 16:
        return 16  # OpenCV moves packed values of 10, 12 and 14 bits to the upper end of 16 bits
    ome = re.search(
        rb'SignificantBits="(\d{1,2})"', bytes(value & 0xFF for value in page.get(270, ()))
    )  # written by microscopes
    return int(ome[1]) if ome else max(page.get(281, (0,))).bit_length() or None


# ---- the pixels ------------------------------------------------------------------------------


def _decode(name: str, data: bytes, header: _Header, eighths: int) -> tuple[NDArray[Any], tuple[Note, ...]]:
    """Return the upright pixels (H, W, 3) RGB, uint8 or uint16, and a note on damage."""
    if name == "JPEG":
        pixels, damage = _decode_jpeg(data, header.size[::-1], eighths)
        return upright(pixels, header.orientation), damage
    if name == "AVIF":  # OpenCV ignores its rotation
        with AvifImageFile(io.BytesIO(data)) as image:
            rgb = image if image.mode == "RGBA" else image.convert("RGB")  # without colours, it is "L"
            return upright(np.asarray(rgb)[..., :3], header.orientation), ()
    data = image_guards.plain_png(data) if name == "PNG" else data
    return cv2.cvtColor(_opencv(data, _BGR, header.page), cv2.COLOR_BGR2RGB), ()


def _opencv(data: bytes, flags: int, page: int = 0) -> NDArray[Any]:
    encoded = np.frombuffer(data, dtype=np.uint8)
    if page:
        return cv2.imdecodemulti(encoded, flags, range=(page, page + 1))[1][0]
    pixels = cv2.imdecode(encoded, flags)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    return pixels


def _decode_jpeg(
    data: bytes, stored_hw: tuple[int, int], eighths: int
) -> tuple[NDArray[np.uint8], tuple[Note, ...]]:
    try:
        return decode_jpeg(data, stored_hw, eighths), ()
    except ValueError as error:
        # OpenCV decodes what libjpeg only warns about, refuses a truncated file, and knows rare subsamplings.
        pixels = _opencv(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        sentence = f"parts of the image may be wrong or grey; the decoder says: {error}"
        return pixels, () if str(error).startswith("tj") else (Note("damaged", sentence),)


def _to_8_bits(
    pixels: NDArray[Any], header: _Header, stated: int | None
) -> tuple[NDArray[np.uint8], tuple[Note, ...]]:
    if pixels.dtype == np.uint8:
        return pixels, ()
    largest = int(pixels.max())
    bits, whence = _held_bits(largest, header.bits, stated if header.depth == 16 else None)
    if bits > 8:
        pixels = np.minimum(pixels, (1 << bits) - 1) >> (bits - 8)
    sentence = f"the values have {header.depth} bits"
    if bits < header.depth:
        sentence += f", of which {bits} are used ({whence})"
    sentence += "; only the upper 8 of these are looked at" if bits > 8 else ""
    pixels = np.minimum(pixels, 255).astype(np.uint8)
    return 255 - pixels if header.inverted else pixels, (Note("bits-dropped", sentence),)


def _held_bits(largest: int, header_bits: int | None, stated: int | None) -> tuple[int, str]:
    """Return how many bits the values use, and a text that says how this is known."""
    if stated is not None:
        return stated, "as the setting says"
    if header_bits is not None and 8 <= header_bits <= 16:
        # A PNG with sBIT should have its values spread over all 16 bits, but cameras write them unspread.
        return header_bits if largest < 1 << header_bits else 16, "as the header says"
    bits = next(bits for bits in _USUAL_BITS if largest < 1 << bits)
    return bits, f"the largest value is {largest:,}; if the image is just dark, state its bits"


def _transparency(name: str, data: bytes, header: _Header) -> tuple[Note, ...]:
    """Return a note if a pixel is not fully opaque."""
    if not header.transparency:
        return ()
    seen = "darkened" if header.darkened else "in the colour stored below"
    note = Note("transparency-dropped", f"transparent pixels are looked at {seen}")
    if name == "TIFF":  # Pillow does not know every kind of TIFF
        pixels = _opencv(data, cv2.IMREAD_UNCHANGED, header.page)
        alpha = pixels[..., 3] if pixels.ndim == 3 and pixels.shape[2] == 4 else np.zeros(1, np.uint8)
    else:
        with _OPENERS[name](io.BytesIO(data)) as image:
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return () if alpha.min() == np.iinfo(alpha.dtype).max else (note,)
