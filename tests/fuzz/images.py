"""Decode a mutated image file as the service does, and check every promise of the decoder."""

import ctypes
import sys
import zlib

import numpy as np

from service.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage
from service.pipeline.center_crop import CenterCrop
from service.pipeline.decode import decode, silence_decoders
from service.pipeline.encode import PREVIEW_PX, to_preview
from service.pipeline.image_decoding import Decoded
from service.pipeline.letterbox import Letterbox
from service.pipeline.reduced_jpeg import Fit
from tests.fuzz.mutate_images import mutate_image
from tests.fuzz.promises import BrokenPromise, Outcome

MAX_PIXELS = 1 << 18
LARGEST = 16_384
"""Most bytes of a mutated file."""
MEMORY_MB = 64
"""Most memory that one file may need, beside the process itself; the largest images need under 5 MB."""
_INPUTS_HW = ((8, 8), (16, 24), (64, 64))
_DOCUMENTED = (EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage)
_PERTURB = -6  # M_PERTURB of <malloc.h>: with which bytes the C library fills what it hands out

mutate = mutate_image


def prepare() -> None:
    """Do what the service does before its first image."""
    silence_decoders()
    _fill_memory(0x55)


def check(data: bytes, max_pixels: int = MAX_PIXELS) -> Outcome:
    """Decode a file, resize it for a model, and draw its preview.

    Which model input, how many bits and what else is done depends on the bytes, so that the same file always
    does the same.

    Raises:
        BrokenPromise: what the decoder returned breaks a promise.
        Exception: the decoder raised something that is not documented.
    """
    choice = zlib.crc32(data)
    bits = (None, None, None, 8, 12, 16)[choice % 6]
    mode = (None, "letterbox", "center_crop")[choice // 6 % 3]
    fit = None if mode is None else Fit(_INPUTS_HW[choice // 18 % 3], mode)
    try:
        decoded = decode(data, max_pixels, bits, fit)
    except _DOCUMENTED as error:
        if not str(error).isprintable() or len(str(error)) > 400:
            raise BrokenPromise("message", f"cannot be printed or is long: {error!r}") from error
        return "refused"
    _check_limits(decoded, max_pixels)
    if fit is not None:
        _place(decoded, fit)
    elif choice // 54 % 8 == 0:
        preview = to_preview(decoded.pixels)
        if not preview.startswith(b"\xff\xd8\xff") or max(decoded.pixels.shape) > PREVIEW_PX * 1024:
            raise BrokenPromise("preview", "it is no JPEG")
    if choice // 432 % 4 == 0:
        _check_no_leftovers(decoded, data, max_pixels, bits, fit)
    return "accepted"


def _check_limits(decoded: Decoded, max_pixels: int) -> None:
    pixels, (height, width) = decoded.pixels, decoded.source_hw
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise BrokenPromise("shape", f"{pixels.dtype} {pixels.shape}")
    if height * width > max_pixels or pixels.shape[0] * pixels.shape[1] > max_pixels:
        raise BrokenPromise("pixels", f"{height} x {width}, {pixels.shape}")
    if decoded.orientation not in range(1, 9):
        raise BrokenPromise("orientation", str(decoded.orientation))


def _place(decoded: Decoded, fit: Fit) -> None:
    if fit.mode == "letterbox":
        box = Letterbox.fit(decoded.source_hw, fit.input_hw)
        canvas = box.apply(decoded.pixels, fit.input_hw, 114, decoded.reduced)
    else:
        crop = CenterCrop.fit(decoded.source_hw, fit.input_hw)
        canvas = crop.apply(decoded.pixels, fit.input_hw, decoded.reduced)
    if canvas.shape != (1, *fit.input_hw, 3) or canvas.dtype != np.uint8:
        raise BrokenPromise("model input", f"{canvas.dtype} {canvas.shape}")


def _check_no_leftovers(
    first: Decoded, data: bytes, max_pixels: int, bits: int | None, fit: Fit | None
) -> None:
    """Decode again in memory that holds other bytes: they must not be in the image.

    Such pixels could be a part of another caller's image.
    """
    _fill_memory(0xAA)
    try:
        second = decode(data, max_pixels, bits, fit)
    finally:
        _fill_memory(0x55)
    if not np.array_equal(first.pixels, second.pixels):
        changed = int((first.pixels != second.pixels).any(axis=-1).sum())
        raise BrokenPromise("leftovers", f"{changed} pixels come from memory, not from the file")


def _fill_memory(byte: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_PERTURB, byte)
