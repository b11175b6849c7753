"""Build small whole image files of every format and variant, from which the mutated ones are made."""

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.builders import image_bytes
from tests.fuzz.mutate_images import join_png
from tests.image_files import LONG, deep, png_with_chunk, tiff_bytes

_TURNED = 0x0112


def image_seeds() -> dict[str, bytes]:
    """Return image files by a name that says what is special about them."""
    files = dict(_of_pillow()) | dict(_of_opencv()) | dict(_tiffs()) | dict(_animations())
    files |= dict(_bmps())
    files["png sBIT"] = png_with_chunk(deep(400, 17), b"sBIT", [12])
    files["png text"] = png_with_chunk(deep(400, 17), b"tEXt", b"Title\0a fish")
    cut = {f"cut {name}": data[: len(data) * 2 // 3] for name, data in files.items()}
    return files | cut | _refused()


def _pixels(height: int = 12, width: int = 20) -> NDArray[np.uint8]:
    smooth = np.indices((height, width)).sum(axis=0)[..., None] * [3, 5, 7]
    return (smooth % 256).astype(np.uint8)


def _of_pillow() -> Iterator[tuple[str, bytes]]:
    turned = Image.Exif()
    turned[_TURNED] = 6
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF"):
        yield f"{kind} colour", image_bytes(_pixels(), kind)
        if kind not in ("BMP", "GIF"):
            yield f"{kind} turned", image_bytes(_pixels(), kind, exif=turned)
    for kind, modes in {
        "JPEG": ("L", "CMYK"),
        "PNG": ("1", "L", "LA", "P", "RGBA"),
        "WEBP": ("RGBA",),
        "TIFF": ("1", "L", "P", "RGBA", "CMYK", "LAB"),
        "BMP": ("1", "L", "P"),
        "GIF": ("L", "P"),
        "AVIF": ("L", "RGBA"),
    }.items():
        for mode in modes:
            yield f"{kind} {mode}", _saved(_in_mode(mode), kind)
    large = Image.fromarray(_pixels(90, 150))  # a much smaller model input reduces it
    for name, options in {
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 2},
        "4:4:4": {"subsampling": 0},
        "coarse": {"quality": 5},
    }.items():
        yield f"JPEG {name}", _saved(large, "JPEG", **options)
    yield "JPEG large turned", _saved(large, "JPEG", exif=turned)
    yield "PNG interlaced", _interlaced()
    yield "WEBP lossless", _saved(large, "WEBP", lossless=True)


def _in_mode(mode: str) -> Image.Image:
    whole = Image.fromarray(_pixels())
    if mode == "LAB":
        return Image.frombytes("LAB", whole.size, whole.tobytes())
    image = whole.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(100)
    return image


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _of_opencv() -> Iterator[tuple[str, bytes]]:
    deep_colour = (_pixels().astype(np.uint16) * 16).astype(np.uint16)
    for suffix in (".png", ".tiff"):
        yield f"{suffix} 16 bits", cv2.imencode(suffix, deep_colour)[1].tobytes()
        yield f"{suffix} 16 bits grey", cv2.imencode(suffix, deep_colour[..., 0])[1].tobytes()


def _tiffs() -> Iterator[tuple[str, bytes]]:
    image, grey = Image.fromarray(_pixels()), _pixels()[..., 0].copy()
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"TIFF {compression}", _saved(image, "TIFF", compression=compression)
    yield "TIFF big", _saved(image, "TIFF", big_tiff=True)
    yield "TIFF JPEG in colour", _saved(image.convert("YCbCr"), "TIFF", compression="jpeg")
    yield "TIFF group4", _saved(image.convert("1"), "TIFF", compression="group4")
    yield "TIFF float", _saved(Image.fromarray(grey.astype(np.float32)), "TIFF")
    yield "TIFF 12 bits", tiff_bytes((deep(400, 17), {}), bits=12)
    yield "TIFF 14 bits", tiff_bytes((deep(400, 17), {}), bits=14)
    yield "TIFF two pages", tiff_bytes((grey[:4].copy(), {254: 1}), (grey, {}), (grey, {}))
    yield "TIFF white is zero", tiff_bytes((deep(400, 17), {262: 0}))
    tile = zlib.compress(bytes(range(256)))
    tiled = {256: 12, 257: 9, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16, 323: 16, 324: 134, 325: len(tile)}
    yield "TIFF tiles", _tiff("<", tiled, tile)
    strip = {256: 12, 257: 9, 258: 16, 259: 1, 262: 1, 273: 134, 274: 3, 277: 1, 278: 9, 279: 216}
    yield "TIFF big-endian", _tiff(">", strip, bytes(range(216)))


def _tiff(order: str, tags: dict[int, int], body: bytes) -> bytes:
    rows = b"".join(struct.pack(order + "HHII", tag, LONG, 1, value) for tag, value in tags.items())
    begin = b"II*\0" if order == "<" else b"MM\0*"
    return begin + struct.pack(order + "IH", 8, len(tags)) + rows + bytes(4) + body


def _interlaced() -> bytes:
    """Return a grey PNG in the seven passes of Adam7, which Pillow cannot write."""
    grey = _pixels()[..., 0]
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = b"".join(
        b"".join(b"\0" + row.tobytes() for row in grey[top::down, left::right])
        for top, left, down, right in passes
    )
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    return join_png([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def _bmps() -> Iterator[tuple[str, bytes]]:
    palette = bytes(range(64)) * 16
    run_8 = b"\x04\x07" + b"\0\x03\x01\x02\x03\0" + b"\0\0" + b"\0\x02\x02\x01" + b"\x03\x09" + b"\0\x01"
    yield "BMP RLE 8", _bmp(8, 1, palette + run_8)
    yield (
        "BMP RLE 4",
        _bmp(4, 2, palette[:64] + b"\x08\x12\0\0\x08\x34\0\0\0\x05\x12\x34\x50\0\x03\x56\0\0\x08\x78\0\x01"),
    )
    yield "BMP 16 bits", _bmp(16, 0, bytes(range(8)) * 8)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    yield "BMP bit fields", _bmp(16, 3, masks + bytes(range(8)) * 8)
    yield "BMP 32 bits", _bmp(32, 0, bytes(range(16)) * 8)
    yield "BMP downwards", _bmp(24, 0, bytes(range(24)) * 4, height=-4)


def _bmp(bits: int, compression: int, rest: bytes, height: int = 4) -> bytes:
    begin = 54 + (1024 if bits == 8 else 64 if bits == 4 else 12 if compression == 3 else 0)
    head = struct.pack("<IiiHHIIiiII", 40, 8, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rest), 0, 0, begin) + head + rest


def _animations() -> Iterator[tuple[str, bytes]]:
    frames = [Image.fromarray(_pixels() + np.uint8(step)) for step in (0, 60)]
    for kind in ("GIF", "WEBP", "PNG", "AVIF", "TIFF"):
        yield f"{kind} animated", _saved(frames[0], kind, save_all=True, append_images=frames[1:])


def _refused() -> dict[str, bytes]:
    return {
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(16),
        "PDF": b"%PDF-1.7\n",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "zip": b"PK\x03\x04" + bytes(26),
        "DICOM": bytes(128) + b"DICM",
    }
