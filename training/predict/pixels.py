"""Turn an image file, an array or a PIL image into RGB pixels."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import Resize
from training.data.evaluation import on_canvas
from training.data.images.image_decoding import decode_image
from training.data.images.image_file import read_bytes, read_rgb
from training.data.images.image_formats import name_format
from training.data.images.reduced_jpeg import WHOLE, Fit, eighths_for
from training.errors import DatasetError

DEEP_MODES = ("I", "F")  # PIL's modes of over 8 bits, which RGB would cut off


def as_rgb(image: Any) -> tuple[str, NDArray[np.uint8]]:
    """Return the name and the RGB pixels (H, W, 3) of an image.

    Args:
        image: the path of an image file, which is turned upright by its EXIF orientation; a PIL image; or a
            uint8 array, (H, W, 3) RGB, (H, W) grey or (H, W, 4) RGBA. An alpha channel is dropped.

    Raises:
        DatasetError: the file cannot be decoded, or the object is not an image; the message says what to do.
    """
    if isinstance(image, str | Path):
        if Path(image).is_dir():
            raise DatasetError(
                f"{image} is a folder: give a list of its images, or use python -m training predict"
            )
        return Path(image).name, read_rgb(Path(image))
    if isinstance(image, np.ndarray):
        return "image", _array_as_rgb(image)
    if hasattr(image, "getexif") and hasattr(image, "convert"):  # PIL, which need not be installed
        from PIL import ImageOps

        if image.mode.startswith(DEEP_MODES):
            raise DatasetError(
                f"a PIL image of mode {image.mode} holds more than 8 bits: scale it to 0..255 first"
            )
        name = Path(getattr(image, "filename", "") or "image").name
        try:  # PIL decodes only now
            return name, np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{name}: PIL cannot decode or convert it ({error})") from error
    raise DatasetError(f"a {type(image).__name__} is not an image: give a path, a numpy array or a PIL image")


def canvas_of(
    image: NDArray[np.uint8], path: Path | None, input_hw: tuple[int, int], resize: Resize
) -> NDArray[np.uint8]:
    """Return an RGB image (h, w, 3) resized to the model input (H, W, 3), with the pixels that a server sees.

    Args:
        path: the image's file; None: the image is an array. If the file is a JPEG that is much larger than
            the model input, servers decode it at a smaller size; the file is then decoded again in this way.

    Raises:
        DatasetError: the file cannot be read any more.
    """
    fit = Fit(input_hw, resize)
    if path is not None and eighths_for((image.shape[0], image.shape[1]), fit) < WHOLE:
        data = read_bytes(path)
        if name_format(data) == "JPEG":
            decoded = decode_image(data, fit=fit)
            return on_canvas(decoded.pixels, input_hw, resize, decoded.reduced)
    return on_canvas(image, input_hw, resize)


def _array_as_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8:
        raise DatasetError(
            f"an image array must be uint8, 0..255, and this is {image.dtype}: convert it first"
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or 0 in image.shape:
        raise DatasetError(f"an image array must be (height, width, 3) RGB, and this is {image.shape}")
    return np.ascontiguousarray(image[..., :3])
