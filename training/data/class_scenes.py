"""Generated scenes that are labelled as a whole: one kind of thing in each, on any background."""

from collections.abc import Mapping

import cv2
import numpy as np

from training.data import scene_objects
from training.data.remarks import Remarks
from training.data.sample import Sample, no_boxes
from training.data.scene_backgrounds import finish
from training.data.scenes import BACKGROUNDS, CLASS_NAMES, REGIMES, Maker, Plan, draw, place

MAKERS: Mapping[str, tuple[Maker, ...]] = {
    "disc": (scene_objects.disc_cell, scene_objects.coin),
    "ring": (scene_objects.ring_cell,),
    "fish": (scene_objects.fish,),
    "star": (scene_objects.starfish,),
    "card": (scene_objects.card,),
}
MOST_THINGS = 3


class ClassScenesDataset:
    """Scenes drawn on request; an index always gives the same one. Classes take turns.

    The background says nothing about the class: it is drawn for each scene.

    Attributes:
        class_names: those of the things, the same for every seed and size.
    """

    class_names: tuple[str, ...] = CLASS_NAMES

    def __init__(self, images: int, seed: int, image_hw: tuple[int, int]) -> None:
        self.remarks: Remarks = {}
        self._images = images
        self._seed = seed
        self._image_hw = image_hw

    def __len__(self) -> int:
        return self._images

    def encoded(self, index: int) -> bytes:
        """Return the scene as a PNG file."""
        _, png = cv2.imencode(".png", cv2.cvtColor(self.load(index).image, cv2.COLOR_RGB2BGR))
        return png.tobytes()

    def load(self, index: int) -> Sample:
        """Draw a scene. Raises IndexError: there is no such index."""
        if not 0 <= index < self._images:
            raise IndexError(f"scene {index} is outside 0..{self._images - 1}")
        image_class = index % len(CLASS_NAMES)
        rng = np.random.default_rng([self._seed, index])
        regime = REGIMES[rng.integers(len(REGIMES))]
        canvas = BACKGROUNDS[regime](self._image_hw, rng)
        makers = MAKERS[CLASS_NAMES[image_class]]
        plan = Plan(
            count=int(rng.integers(1, MOST_THINGS + 1)),
            radius=(0.15, 0.35),
            spacing=0.5,
            makers=tuple((maker, 1 / len(makers)) for maker in makers),
        )
        draw(canvas, place(plan, self._image_hw, rng))
        return Sample(
            finish(canvas, regime, rng),
            no_boxes(),
            np.zeros(0, dtype=np.int64),
            f"scene-{self._seed}-{index}",
            image_class=image_class,
        )
