"""A YOLO folder of small images, all different, for tests of what is found before a training."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

BOX = "0 0.5 0.5 0.25 0.25"  # a quarter of the image's sides, in its middle


def write_split(root: Path, split: str, rows: Sequence[str], image_hw: tuple[int, int] = (64, 64)) -> None:
    """Write one image of noise, and its label file, for each of the texts in rows; names begin with 0."""
    (root / "data.yaml").parent.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text("names: [cat, dog]\n", encoding="utf-8")
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(split))
    for number, text in enumerate(rows):
        image = rng.integers(0, 255, (*image_hw, 3)).astype(np.uint8)
        cv2.imwrite(str(root / "images" / split / f"{number}.png"), image)
        (root / "labels" / split / f"{number}.txt").write_text(text, encoding="utf-8")
