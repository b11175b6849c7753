"""Training, service and clients turn every image file into the same pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from clients.image import as_pixels
from service.pipeline.decode import decode
from tests.builders import image_bytes
from tests.image_files import deep, png_with_chunk, tiff_bytes
from training.data.images.image_file import read_rgb

ROOT = Path(__file__).parents[2]
COPIES = ("service/pipeline", "training/data/images", "clients")


def test_the_copies_are_byte_for_byte_the_same():
    assert len({(ROOT / folder / "image_decoding.py").read_bytes() for folder in COPIES}) == 1


def turned(image_format):
    exif = Image.Exif()
    exif[0x0112] = 8
    pixels = np.random.default_rng(1).integers(0, 255, (24, 40, 3)).astype(np.uint8)
    return image_bytes(pixels, image_format, exif=exif)


FILES = {
    **{f"turned {kind}": turned(kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")},
    "GIF": image_bytes(np.full((8, 8, 3), 99, np.uint8), "GIF"),
    "CMYK": image_bytes(np.full((8, 8, 3), 99, np.uint8), "JPEG", "CMYK"),
    "12 bits, PNG": image_bytes(deep(4000, 17)),
    "12 bits, TIFF": tiff_bytes((deep(4000, 17), {})),
    "12 bits, colour TIFF": cv2.imencode(".tif", np.full((4, 4, 3), 3000, np.uint16))[1].tobytes(),
    "sBIT": png_with_chunk(deep(400, 17), b"sBIT", [12]),
    "14 bits, packed": tiff_bytes((deep(400, 17), {}), bits=14),
    "thumbnail first": tiff_bytes((deep()[:2].astype(np.uint8), {254: 1}), (deep(7).astype(np.uint8), {})),
}


@pytest.mark.filterwarnings("ignore:bits-dropped")
@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_the_same_pixels_everywhere(name, tmp_path):
    (tmp_path / "file").write_bytes(FILES[name])
    trained = read_rgb(tmp_path / "file")
    assert np.array_equal(decode(FILES[name], 10**6).pixels, trained)
    assert np.array_equal(as_pixels(FILES[name]), trained)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_stated_bits_mean_the_same_in_training_and_service(bits, tmp_path):
    data = image_bytes(deep(900, 5000))
    (tmp_path / "file").write_bytes(data)
    assert np.array_equal(decode(data, 10**6, bits).pixels, read_rgb(tmp_path / "file", bits))
