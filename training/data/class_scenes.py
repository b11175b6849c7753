"""Generated scenes with one class label per image: each scene shows one kind of object, on any background."""

from collections.abc import Mapping

import numpy as np

from training.data import scene_objects
from training.data.sample import Sample, no_boxes
from training.data.scene_backgrounds import finish
from training.data.scenes import BACKGROUNDS, CLASS_NAMES, REGIMES, DrawnScenes, Maker, Plan, Rng, draw, place

MAKERS: Mapping[str, tuple[Maker, ...]] = {
    "disc": (scene_objects.disc_cell, scene_objects.coin),
    "ring": (scene_objects.ring_cell,),
    "fish": (scene_objects.fish,),
    "star": (scene_objects.starfish,),
    "card": (scene_objects.card,),
}
MOST_THINGS = 3


class ClassScenesDataset(DrawnScenes):
    """Generated scenes with one class label each; the classes take turns.

    The background is random and independent of the class.
    """

    def _compose(self, index: int, name: str, image_hw: tuple[int, int], rng: Rng) -> Sample:
        image_class = index % len(CLASS_NAMES)
        regime = REGIMES[rng.integers(len(REGIMES))]
        canvas = BACKGROUNDS[regime](image_hw, rng)
        makers = MAKERS[CLASS_NAMES[image_class]]
        plan = Plan(
            count=int(rng.integers(1, MOST_THINGS + 1)),
            radius=(0.15, 0.35),
            spacing=0.5,
            makers=tuple((maker, 1 / len(makers)) for maker in makers),
        )
        draw(canvas, place(plan, image_hw, rng))
        image, class_ids = finish(canvas, regime, rng), np.zeros(0, dtype=np.int64)
        return Sample(image, no_boxes(), class_ids, name, image_class=image_class)
