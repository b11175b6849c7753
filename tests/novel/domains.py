"""The image files of the experiment: ordinary ones, and those of domains that the starter never saw."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.open import open_dataset
from training.recipes.recipe_data import starter_data

Pixels = NDArray[np.uint8]

CHOSEN_ON = ("coco", "nuclei", "trash", "mouse", "night", "fog", "blur", "noise", "grey")
"""The domains with which the score was chosen, so that its figures for them are a little too good."""

_FILES = {
    "coco": "coco_train2017_sample/train2017/*",
    "nuclei": "nuclei/images/val/*",
    "trash": "trash/val/*/*",
    "mouse": "mouse_pose/images/*/*",
    "voc": "voc2012_100_multiformat/images/*",
    "sku110k": "sku110k_sample/images/*",
    "visdrone": "visdrone_sample/images/*",
}
_SEED = 7  # of the noise in the changed images


def ordinary(root: Path, split: str) -> Iterator[bytes]:
    """Yield the images of the starter's `train` or `val` split, as PNG files."""
    dataset = open_dataset(getattr(starter_data(root), split))
    for index in range(len(dataset)):
        yield _png(dataset.load(index).image)


def domains(root: Path, clean: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield each domain's name and image files; some domains are changed copies of the `clean` images."""
    for name, pattern in _FILES.items():
        yield name, [path.read_bytes() for path in sorted(root.glob(pattern)) if path.is_file()]
    random = np.random.default_rng(_SEED)
    for name, change in _changes(random).items():
        yield name, [_png(change(_pixels(file))) for file in clean]


def _changes(random: np.random.Generator) -> Mapping[str, Callable[[Pixels], Pixels]]:
    def night(pixels: Pixels) -> Pixels:
        dark = (pixels / 255) ** 1.6 * 0.35 + random.normal(0, 0.02, pixels.shape)
        return _bytes(dark * 255 * (1, 1, 1.15))  # a little blue

    return {
        "night": night,
        "fog": lambda pixels: _bytes(pixels * 0.5 + 115),
        "blur": lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 4 * max(pixels.shape[:2]) / 640),
        "noise": lambda pixels: _bytes(pixels + random.normal(0, 20, pixels.shape)),
        "grey": lambda pixels: np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, 2),
    }


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def _png(pixels: Pixels) -> bytes:
    done, data = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return data.tobytes()


def _pixels(file: bytes) -> Pixels:
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
