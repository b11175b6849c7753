"""Decode an image file to RGB pixels, within limits, so that a malicious file cannot exhaust the memory."""

import cv2

from service.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from service.pipeline.image_decoding import Decoded, ImageFileError, UnsupportedFormat, decode_image
from service.pipeline.reduced_jpeg import Fit


def decode(data: bytes, max_pixels: int, bits: int | None = None, fit: Fit | None = None) -> Decoded:
    """Return the upright (H, W, 3) uint8 RGB pixels of an image file, and notes on the parts it ignored.

    Args:
        data: the file's bytes. The format is recognised from them, not from a file name or a content type.
        max_pixels: maximum number of pixels that the header may announce.
        bits: number of significant bits in a file with 16 bits per value; with None, decode_image determines
            it.
        fit: model input for which the pixels are needed; a JPEG that is much larger is decoded at a smaller
            size. With None, all pixels are decoded.

    Raises:
        EmptyImage: there are no bytes.
        UnsupportedImage: the format is not supported; the message names the format, if it is known.
        ImageTooLarge: the header announces too many pixels; the image was not decoded.
        UndecodableImage: the image is truncated or damaged.
    """

    def check_pixels(count: int) -> None:
        if count > max_pixels:
            raise ImageTooLarge(count, max_pixels)

    if not data:
        raise EmptyImage
    try:
        return decode_image(data, bits=bits, check_pixels=check_pixels, fit=fit)
    except UnsupportedFormat as error:
        raise UnsupportedImage(str(error)) from error
    except ImageFileError as error:
        raise UndecodableImage(str(error)) from error


def silence_decoders() -> None:
    """Stop OpenCV from writing a line to stderr for each damaged image."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
