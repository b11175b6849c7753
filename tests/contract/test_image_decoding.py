"""Training, service and clients turn every image file into the same pixels."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from clients.image import as_pixels
from clients.manifest import Resize
from clients.tensors import Canvas
from service.artifact.tensors import ImagesInput
from service.pipeline.decode import decode
from service.pipeline.preprocess import fit_of, preprocess
from tests.builders import image_bytes, images_row
from tests.image_files import deep, png_with_chunk, tiff_bytes
from training.config import PAD_VALUE
from training.data.evaluation import on_canvas
from training.data.images.image_file import read_image, read_rgb
from training.data.images.reduced_jpeg import Fit
from training.predict.pixels import canvas_of

ROOT = Path(__file__).parents[2]
COPIES = ("service/pipeline", "training/data/images", "clients")


def test_the_copies_are_byte_for_byte_the_same():
    for name in ("image_decoding.py", "image_formats.py", "image_guards.py", "reduced_jpeg.py"):
        assert len({(ROOT / folder / name).read_bytes() for folder in COPIES}) == 1, name


def turned(image_format, hw=(24, 40), orientation=8):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(1).integers(0, 255, (*hw, 3)).astype(np.uint8)
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


@pytest.mark.parametrize("mode", ["letterbox", "center_crop"])
@pytest.mark.parametrize("hw", [(240, 320), (241, 323), (323, 241), (40, 24)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_jpeg_becomes_the_same_model_input_everywhere(hw, orientation, mode, tmp_path):
    data, input_hw = turned("JPEG", hw, orientation), (32, 48)
    row = images_row(mode=mode, pad_value=PAD_VALUE) | {"dims": ["B", *input_hw, 3]}
    spec = ImagesInput.model_validate_json(json.dumps(row))
    served = decode(data, 10**6, fit=fit_of(spec))
    assert (served.reduced is not None) == (max(hw) > 100)
    placed = preprocess(served.pixels, spec, served.reduced)

    (tmp_path / "file.jpg").write_bytes(data)
    trained = read_image(tmp_path / "file.jpg", fit=Fit(input_hw, mode))
    assert np.array_equal(on_canvas(trained.pixels, input_hw, mode, trained.reduced), placed.canvas[0])
    assert trained.source_hw == placed.source_hw == (hw if orientation < 5 else hw[::-1])

    resize = Resize(mode, PAD_VALUE)
    canvas = Canvas.of(data, SimpleNamespace(input_hw=input_hw, resize=resize))
    assert np.array_equal(canvas.pixels, placed.canvas)
    assert canvas.image_hw == placed.source_hw

    whole = read_rgb(tmp_path / "file.jpg")
    assert np.array_equal(canvas_of(whole, tmp_path / "file.jpg", input_hw, mode), placed.canvas[0])
