"""Decode an image file to RGB pixels; malicious files cannot exhaust the memory."""

import io
import logging
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB pixels of an image file, with the EXIF orientation applied.

    Grey, palette, alpha, CMYK and 16-bit images are converted. The alpha channel is dropped, and only the
    first frame of an animation is read.

    Args:
        data: the file's bytes; they alone determine the format, not a file name or a content type.
        max_pixels: maximum number of pixels that the header may announce.

    Raises:
        EmptyImage: there are no bytes.
        UnsupportedImage: the format is not one of FORMATS.
        ImageTooLarge: the header announces too many pixels; the image was not decoded.
        UndecodableImage: the image is truncated or damaged.
    """
    if not data:
        raise EmptyImage
    name, opener = _format(data)
    width, height = _size(name, opener, data, max_pixels)
    if width * height > max_pixels:
        raise ImageTooLarge(width * height, max_pixels)
    try:
        # Unlike Pillow's loaders, OpenCV refuses a truncated JPEG, and applies the EXIF orientation.
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise UndecodableImage(f"the {name} image is damaged and cannot be decoded") from error
    if pixels is None:
        raise UndecodableImage(
            f"the {name} image cannot be decoded: it is truncated, damaged, or of an unusual type;"
            " save it again as a plain JPEG or PNG"
        )
    if pixels.dtype != np.uint8 or sorted(pixels.shape[:2]) != sorted((width, height)):
        raise UndecodableImage(
            f"the {name} header announces {width} x {height} pixels, but the image has another size"
        )
    return pixels.astype(np.uint8, copy=False)


def silence_decoders() -> None:
    """Stop OpenCV from writing a line to stderr for each damaged image."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _format(data: bytes) -> tuple[str, Callable[[io.BytesIO], ImageFile]]:
    head = data[:16]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG", JpegImageFile
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", PngImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP", WebPImageFile
    if head.startswith(b"BM"):
        return "BMP", BmpImageFile
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return "TIFF", TiffImageFile
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF", GifImageFile
    raise UnsupportedImage(f"this is not an image in a supported format; send one of: {', '.join(FORMATS)}")


def _size(
    name: str, opener: Callable[[io.BytesIO], ImageFile], data: bytes, max_pixels: int
) -> tuple[int, int]:
    try:
        # Use the format's own class, because Image.open has its own global pixel limit.
        with opener(io.BytesIO(data)) as header:
            return header.size
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(None, max_pixels) from error
    except Exception as error:  # header parsers raise many kinds of errors for damaged bytes
        raise UndecodableImage(f"the {name} header is truncated or damaged") from error
