"""Measures JPEG decoding at a smaller size: its time, and the starter's mAP: `python -m tests.load.decoding`.

    .venv/bin/python -m tests.load.decoding data

The first table has the time of decoding and resizing one photograph for the starter, at the size of VGA,
1080p and 12 megapixels: with all pixels, with all pixels by libjpeg's faster and coarser steps, and at the
size that is chosen. The second table has the starter's mAP on the validation images of its three data sets:
with all pixels, by the faster steps, and at the sizes that margins of 1, 1.5 and 2 choose. The images have
their own sizes, or are enlarged and encoded again, so that they are as large as photographs of cameras.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import process_time

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from tabulate import tabulate

from tests.load.machine import describe_machine
from training.data.combined import CombinedDataset
from training.data.evaluation import Truth, on_canvas
from training.data.images.image_decoding import Decoded, decode_image
from training.data.images.image_file import read_rgb
from training.data.images.reduced_jpeg import MARGIN, WHOLE, Fit, upright
from training.data.open import open_dataset
from training.evaluate.detections import DetectConfig, Detections
from training.evaluate.mean_ap import mean_average_precision
from training.export.tasks.objects import kept
from training.predict.open import LoadedModel, open_artifact
from training.recipes.recipe_data import starter_data

STARTER = Path(__file__).resolve().parents[2] / "model_repository" / "starter-openvino" / "1"
PHOTO = Path("sku110k_sample", "images", "val_202.jpg")  # of 8 megapixels, with fine detail
SIZES = {"VGA": (640, 480), "1080p": (1920, 1080), "12 MP": (4000, 3000)}
QUALITY = 92  # of the JPEGs that are encoded here; colours are halved, as by most cameras
MARGINS = (1.0, 1.5, 2.0)

Decode = Callable[[bytes, Fit], Decoded]


def main() -> int:
    """Measure times and mAP, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with bccd, aquarium, playing_cards and a photograph")
    parser.add_argument("--photo", type=Path, help=f"photograph that is timed (default: {PHOTO} in the data)")
    parser.add_argument("--rounds", type=int, default=20, help="of the times (default: %(default)s)")
    parser.add_argument(
        "--enlarge",
        type=float,
        nargs="*",
        default=[1.0, 4.0],
        help="factors (default: 1 and 4); none: no mAP",
    )
    parser.add_argument("--quality", type=int, default=QUALITY, help="of the JPEGs (default: %(default)s)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    model = open_artifact(STARTER, None)
    packages = ", ".join(f"{name} {version(name)}" for name in ("simplejpeg", "opencv-python-headless"))
    print(f"{describe_machine()}, {packages}; model input {model.input_hw}\n")
    photo = read_rgb(args.photo or args.data / PHOTO)
    print(times(photo, Fit(model.input_hw, model.resize), args.rounds, args.quality), "\n", flush=True)
    if args.enlarge:
        print(accuracies(args.data, model, args.enlarge, args.quality))
    return 0


def whole(data: bytes, fit: Fit) -> Decoded:
    """Decode all pixels."""
    del fit
    return decode_image(data)


def by_faster_steps(data: bytes, fit: Fit) -> Decoded:
    """Decode all pixels of a JPEG with a coarser transform, and without smoothing the colours."""
    orientation = decode_image(data, fit=fit).orientation
    pixels = simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True)
    return Decoded(np.ascontiguousarray(upright(pixels, orientation)), orientation, ())


def by_margin(margin: float) -> Decode:
    """Return a decoder that chooses sizes with this margin."""

    def decode(data: bytes, fit: Fit) -> Decoded:
        height, width = (round(side * margin / MARGIN) for side in fit.input_hw)
        return decode_image(data, fit=Fit((height, width), fit.mode))

    return decode


def times(photo: NDArray[np.uint8], fit: Fit, rounds: int, quality: int) -> str:
    """Return a table of the CPU times of decoding and resizing a photograph, medians of rounds in turns."""

    def fast(data: bytes, fit: Fit) -> Decoded:
        del fit
        return Decoded(simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True), 1, ())

    ways: tuple[Decode, ...] = (whole, fast, by_margin(MARGIN))
    rows = []
    for name, size in SIZES.items():
        data = encoded(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), quality)
        taken: list[list[float]] = [[] for _ in ways]
        for number in range(rounds + 2):
            for way, of_way in zip(ways, taken, strict=True):
                begun = process_time()
                image = way(data, fit)
                on_canvas(image.pixels, fit.input_hw, fit.mode, image.reduced)
                if number >= 2:  # after warming up
                    of_way.append((process_time() - begun) * 1e3)
        ratios = [one / other for one, other in zip(taken[0], taken[-1], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        eighths = image.reduced.eighths if image.reduced else WHOLE
        medians = [f"{statistics.median(of_way):.2f}" for of_way in taken]
        spread = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rows.append((name, f"{len(data) / 1e3:.0f} KB", *medians, f"{eighths} / 8", spread))
    heads = ("photograph", "file", "all pixels, ms", "faster steps, ms", "chosen, ms", "size", "all / chosen")
    return tabulate(rows, heads, "pipe", disable_numparse=True)


def accuracies(data: Path, model: LoadedModel, factors: list[float], quality: int) -> str:
    """Return a table of the model's mAP50-95 in percent: on each data set, enlarged by each factor."""
    ways: dict[str, Decode] = {"all pixels": whole, "faster steps": by_faster_steps}
    ways |= {f"margin {margin:g}": by_margin(margin) for margin in MARGINS}
    dataset = open_dataset(starter_data(data).val)
    assert isinstance(dataset, CombinedDataset)
    rows = []
    for place, origin in enumerate(dataset.origins):
        indices = [index for index in range(len(dataset)) if dataset.origin_of(index) == place]
        truths = [Truth.of(dataset.load(index)) for index in indices]
        for factor in factors:
            found: dict[str, list[Detections]] = {way: [] for way in ways}
            for index, truth in zip(indices, truths, strict=True):
                image = enlarged(dataset.encoded(index), factor, quality)
                for way, detections in detected(model, image, ways, truth.image_hw).items():
                    found[way].append(detections)
            values = [
                mean_average_precision(truths, of_way, dataset.class_names).map50_95 * 100
                for of_way in found.values()
            ]
            changes = [f"{value - values[0]:+.2f}" for value in values[1:]]
            rows.append((origin, len(indices), f"{factor:g}", f"{values[0]:.2f}", *changes))
            print(*rows[-1], file=sys.stderr, flush=True)
    return tabulate(rows, ("data set", "images", "enlarged", *ways), "pipe", disable_numparse=True)


def detected(
    model: LoadedModel, image: bytes, ways: dict[str, Decode], image_hw: tuple[int, int]
) -> dict[str, Detections]:
    """Return what the model finds after each way of decoding, in pixels of the image as it is labelled."""
    fit, known = Fit(model.input_hw, model.resize), dict[bytes, Detections]()
    found = {}
    for name, way in ways.items():
        decoded = way(image, fit)
        canvas = on_canvas(decoded.pixels, fit.input_hw, fit.mode, decoded.reduced)
        key = canvas.tobytes()  # several ways may give the same pixels
        if key not in known:
            assert model.kind is not None
            outputs = model.run(canvas, model.controls)
            known[key] = kept(outputs, image_hw, fit.input_hw, DetectConfig(), model.kind)
        found[name] = known[key]
    return found


def enlarged(data: bytes, factor: float, quality: int) -> bytes:
    """Return an image file enlarged and encoded as JPEG; the file itself for factor 1."""
    if factor == 1:
        return data
    pixels = decode_image(data).pixels
    larger = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_LANCZOS4)
    return encoded(larger, quality)


def encoded(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Return RGB pixels (H, W, 3) as JPEG."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420"
    )
    return data


if __name__ == "__main__":
    sys.exit(main())
