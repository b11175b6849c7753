"""Builds artifacts with a fault that their golden samples do not show, and images on which it shows.

The golden image is red, so it does not use the expert for blue images. In the faulty artifact, this expert's
weight is a fifth of the right one: blue objects score too little to be reported.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.builders
from tests.builders import CANVAS, BuiltArtifact, build_artifact, image_bytes

BLUE_FACTOR = 0.2
COLOURS = {"red": (230, 60, 30), "green": (30, 200, 30), "blue": (30, 40, 230)}


def build_faulty(repository: Path, **artifact: Any) -> BuiltArtifact:
    """Write the tiny detector with a wrong expert for blue images; for the arguments, see build_artifact."""
    red, green, _, second_red = tests.builders.BOX_FACTORS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.builders, "BOX_FACTORS", (red, green, BLUE_FACTOR, second_red))
        return build_artifact(repository, **artifact)


def scene(colour: str, number: int) -> bytes:
    """Return an image of a colour as PNG; images with other numbers show other scenes."""
    chance = np.random.default_rng(number)
    cells = chance.integers(-25, 26, (8, 8, 1)).repeat(CANVAS // 8, axis=0).repeat(CANVAS // 8, axis=1)
    pixels = np.array(COLOURS[colour]) + cells
    return image_bytes(pixels.clip(0, 255).astype(np.uint8))
