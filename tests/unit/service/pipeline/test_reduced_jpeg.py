"""JPEGs that are decoded at a smaller size: where their pixels lie, and what stays as in a whole decoding."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.artifact.tensors import ImagesInput
from service.errors import ImageTooLarge
from service.pipeline.decode import decode
from service.pipeline.image_decoding import ImageFileError, decode_image
from service.pipeline.preprocess import fit_of, preprocess
from service.pipeline.reduced_jpeg import WHOLE, Fit, Reduced, eighths_for, reduced_hw, resize

MODES = ("letterbox", "center_crop")
ODD_SIZES = [(601, 1001), (1007, 769), (803, 1366), (1501, 2003)]
INPUT_HW = (104, 136)


def spec_of(mode: str, input_hw: tuple[int, int] = INPUT_HW) -> ImagesInput:
    how = {"mode": mode, "interpolation": "bilinear"} | ({"pad_value": 0} if mode == "letterbox" else {})
    row = {"name": "images", "dtype": "u8", "dims": ["B", *input_hw, 3], "role": "images", "resize": how}
    return ImagesInput.model_validate_json(json.dumps(row))


def blobs(hw: tuple[int, int]) -> np.ndarray:
    """Return a black image with a red, a green and a blue blob, smooth enough for every sampling."""
    y, x = np.mgrid[0 : hw[0], 0 : hw[1]] + 0.5
    places = ((0.28, 0.27), (0.72, 0.36), (0.4, 0.73))  # each in the middle part, so that a crop keeps it
    spread = max(hw) / 30  # standard deviation, pixels
    blurs = [np.exp(-((y - v * hw[0]) ** 2 + (x - u * hw[1]) ** 2) / (2 * spread**2)) for v, u in places]
    return (np.stack(blurs, axis=-1) * 255).round().astype(np.uint8)


def jpeg(pixels: np.ndarray, mode: str = "RGB", orientation: int = 1, **options) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=95, exif=exif.tobytes(), **options)
    return buffer.getvalue()


def centres(image: np.ndarray) -> np.ndarray:
    """Return the centre x, y of each colour's blob, (3, 2) pixels."""
    light = np.clip(image.astype(np.float64) - 16, 0, None)  # without the noise of the black around
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] + 0.5
    weights = light.sum(axis=(0, 1))
    sums = [(light * axis[..., None]).sum(axis=(0, 1)) for axis in (x, y)]
    return np.stack(sums, axis=-1) / weights[:, None]


# ---- where the pixels lie --------------------------------------------------------------------


@pytest.mark.parametrize("hw", ODD_SIZES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_positions_map_back_to_the_pixels_of_the_whole_image(hw, orientation):
    data = jpeg(blobs(hw), orientation=orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))  # by Pillow, not by us
    spec = spec_of("letterbox")
    image = decode(data, 10**7, fit=fit_of(spec))
    assert image.reduced is not None
    placed = preprocess(image.pixels, spec, image.reduced)
    assert placed.source_hw == upright.shape[:2]
    found = placed.place.points_to_source(centres(placed.canvas[0]).astype(np.float32))
    # The resized image has whole pixels, which moves the far edge by up to half a pixel of the model input,
    # reduced or not. Beside that, positions agree to 0.015 pixels of the model input.
    whole = preprocess(upright, spec)
    by_whole = whole.place.points_to_source(centres(whole.canvas[0]).astype(np.float32))
    assert np.abs(found - by_whole).max() < 0.015 / placed.place.scale  # about 0.2 source pixels
    assert np.abs(found - centres(upright)).max() < 0.5 / placed.place.scale
    assert placed.place == whole.place


@pytest.mark.parametrize("hw", ODD_SIZES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_the_model_input_shows_what_it_shows_of_the_whole_image(hw, mode, orientation):
    data, spec = jpeg(blobs(hw), orientation=orientation), spec_of(mode)
    image, whole = decode(data, 10**7, fit=fit_of(spec)), decode(data, 10**7)
    assert image.reduced is not None
    assert whole.reduced is None
    assert image.source_hw == whole.source_hw == whole.pixels.shape[:2]
    ours, theirs = preprocess(image.pixels, spec, image.reduced), preprocess(whole.pixels, spec)
    assert (ours.place, ours.source_hw) == (theirs.place, theirs.source_hw)
    assert np.abs(ours.canvas.astype(int) - theirs.canvas).max() <= 4  # a pixel further are up to 40


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"subsampling": "4:2:2"}),
        ("RGB", {"restart_marker_blocks": 3}),
    ],
    ids=["grey", "CMYK", "progressive", "4:4:4", "4:2:2", "restart markers"],
)
def test_every_kind_of_jpeg_is_reduced(mode, options):
    data, spec = jpeg(blobs((601, 1001)), mode, **options), spec_of("letterbox")
    image, whole = decode(data, 10**7, fit=fit_of(spec)), decode(data, 10**7)
    assert image.pixels.shape == (*reduced_hw((601, 1001), image.reduced.eighths), 3)
    assert image.notes == whole.notes == ()
    ours, theirs = preprocess(image.pixels, spec, image.reduced), preprocess(whole.pixels, spec)
    assert np.abs(ours.canvas.astype(int) - theirs.canvas).max() <= 4


def sampled(pixels: np.ndarray, size: int, extent: float, *, from_end: bool) -> np.ndarray:
    """Return the rows of an image resampled to `size`, by the definition of bilinear interpolation."""
    pixels = pixels[::-1] if from_end else pixels
    at = np.clip((np.arange(size) + 0.5) * extent / size - 0.5, 0, len(pixels) - 1)
    low = np.minimum(at.astype(int), max(0, len(pixels) - 2))
    high, share = np.minimum(low + 1, len(pixels) - 1), (at - low)[:, None, None]
    rows = pixels[low] * (1 - share) + pixels[high] * share
    return rows[::-1] if from_end else rows


@pytest.mark.parametrize("seed", range(40))
def test_reduced_pixels_are_resampled_from_where_they_lie(seed):
    rng = np.random.default_rng(seed)
    source_hw, eighths = tuple(map(int, rng.integers(64, 1200, 2))), int(rng.choice([1, 2, 4]))
    pixels = rng.integers(0, 256, (*reduced_hw(source_hw, eighths), 3), dtype=np.uint8)
    reduced = Reduced(source_hw, eighths, *map(bool, rng.integers(0, 2, 2)))
    height, width = (max(1, round(side * rng.uniform(0.3, 1))) for side in reduced.extent_hw)
    got = resize(pixels, (height, width), reduced)
    assert got.shape == (height, width, 3)
    extent_h, extent_w = reduced.extent_hw
    rows = sampled(pixels.astype(np.float64), height, extent_h, from_end=reduced.from_bottom)
    columns = sampled(rows.transpose(1, 0, 2), width, extent_w, from_end=reduced.from_right)
    assert np.abs(got - columns.transpose(1, 0, 2)).max() < 1.5  # OpenCV rounds its weights, and the values


def test_an_image_of_the_wanted_size_stays_the_same_array():
    pixels = np.zeros((40, 60, 3), np.uint8)
    assert resize(pixels, (40, 60)) is pixels
    assert resize(pixels, (40, 60), Reduced((160, 240), 2)) is pixels


# ---- the size --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_hw", "input_hw", "mode", "eighths"),
    [
        pytest.param((480, 640), (416, 416), "letterbox", 8, id="VGA"),
        pytest.param((1080, 1920), (416, 416), "letterbox", 4, id="1080p"),
        pytest.param((3000, 4000), (416, 416), "letterbox", 2, id="12 megapixels"),
        pytest.param((4000, 3000), (416, 416), "letterbox", 2, id="12 megapixels, upright"),
        pytest.param((1080, 1920), (640, 640), "letterbox", 8, id="1080p, larger input"),
        pytest.param((3000, 4000), (640, 640), "letterbox", 4, id="12 megapixels, larger input"),
        pytest.param((6000, 8000), (416, 416), "letterbox", 1, id="48 megapixels"),
        pytest.param(
            (768, 1024), (416, 416), "letterbox", 8, id="more than twice the input, but not at a half"
        ),
        pytest.param((1664, 1248), (416, 416), "letterbox", 4, id="a half is just twice the size"),
        pytest.param((1663, 1248), (416, 416), "letterbox", 8, id="a half is not quite twice the size"),
        pytest.param((1080, 1920), (224, 224), "center_crop", 4, id="a crop covers the input"),
        pytest.param((1000, 10000), (224, 224), "center_crop", 8, id="a crop that cuts most away"),
        pytest.param((1000, 10000), (224, 224), "letterbox", 1, id="a panorama"),
        pytest.param((1, 10000), (64, 64), "letterbox", 1, id="a line"),
        pytest.param((60, 60), (8, 8), "letterbox", 8, id="a few pixels"),
        pytest.param((100, 100), (640, 640), "letterbox", 8, id="an image that grows"),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_size_that_has_a_margin(source_hw, input_hw, mode, eighths):
    assert eighths_for(source_hw, Fit(input_hw, mode)) == eighths


def test_all_pixels_are_decoded_if_nobody_says_what_for():
    assert eighths_for((3000, 4000), None) == WHOLE
    assert decode(jpeg(blobs((601, 1001))), 10**7).pixels.shape == (601, 1001, 3)


@pytest.mark.parametrize("hw", [(1, 999), (999, 1), (65, 1003), (64, 64), (71, 65)])
@pytest.mark.parametrize("mode", MODES)
def test_a_narrow_jpeg_is_decoded(hw, mode):
    image = decode_image(jpeg(np.full((*hw, 3), 90, np.uint8)), fit=Fit((8, 8), mode))
    assert image.source_hw == hw
    size = (8, 8) if mode == "letterbox" else (16, 16)
    placed = preprocess(image.pixels, spec_of(mode, size), image.reduced if mode == "letterbox" else None)
    assert placed.canvas.shape == (1, *size, 3)


# ---- what stays the same ---------------------------------------------------------------------


def outcome(data: bytes, fit: Fit | None) -> object:
    try:
        image = decode_image(data, fit=fit)
    except ImageFileError as error:
        return str(error)
    return image.notes, image.source_hw, image.reduced is None and image.pixels.tobytes()


NOISE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9, 0.99, 0.9999])
def test_a_truncated_file_gets_the_same_note_or_refusal(progressive, share):
    data = jpeg(NOISE, progressive=progressive)
    cut = data[: int(len(data) * share)]
    assert outcome(cut, Fit((32, 32), "letterbox")) == outcome(cut, None)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_gets_the_same_note_or_refusal(seed):
    data, rng = bytearray(jpeg(NOISE)), np.random.default_rng(seed)
    for place in rng.integers(2, len(data), 4):
        data[place] = rng.integers(256)
    reduced, whole = outcome(bytes(data), Fit((32, 32), "letterbox")), outcome(bytes(data), None)
    if isinstance(whole, str) or whole[0]:
        assert reduced == whole
    else:
        assert reduced[:2] == whole[:2]


def test_a_damaged_file_keeps_its_note_and_all_its_pixels():
    data = jpeg(NOISE)
    data = data[: len(data) // 2] + data[-2:]
    image = decode_image(data, fit=Fit((32, 32), "letterbox"))
    assert [note.kind for note in image.notes] == ["damaged"]
    assert image.reduced is None
    assert image.pixels.shape == NOISE.shape


def test_the_limit_counts_the_pixels_of_the_header():
    data, fit = jpeg(NOISE), Fit((32, 32), "letterbox")
    assert decode(data, 60_000, fit=fit).pixels.shape[0] < 200
    with pytest.raises(ImageTooLarge):
        decode(data, 59_999, fit=fit)


@pytest.mark.parametrize("name", ["PNG", "WEBP", "BMP", "TIFF"])
def test_other_formats_are_decoded_whole(name):
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, name)
    image = decode_image(buffer.getvalue(), fit=Fit((32, 32), "letterbox"))
    assert image.reduced is None
    assert np.array_equal(image.pixels, decode_image(buffer.getvalue()).pixels)
