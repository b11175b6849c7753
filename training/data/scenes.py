"""Generated scenes of three kinds, from sparse to crowded, with exact boxes and no files."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import scene_objects
from training.data.remarks import Remarks
from training.data.sample import Sample, no_boxes
from training.data.scene_backgrounds import aquarium_water, finish, microscope_field, table_top
from training.data.scene_objects import Maker, Pose, Rng, Thing
from training.data.skeleton import Skeleton

CLASS_NAMES = ("disc", "ring", "fish", "star", "card")
MIN_VISIBLE = 0.15  # smallest visible fraction of an object at which the object is labelled
MIN_SIDE_PX = 2
FINER = 4  # subdivisions of a pixel's side when an outline is drawn
MOST_THINGS = 3  # objects in a scene of ClassScenesDataset


@dataclass(frozen=True)
class Plan:
    """How many objects a scene has, of which kinds and sizes, and how far apart."""

    count: int
    radius: tuple[float, float]  # smallest and largest, as fractions of the image's shorter side
    spacing: float  # smallest distance of two centres ÷ the sum of their radii
    makers: tuple[tuple[Maker, float], ...]  # each with its probability


class DrawnScenes(ABC):
    """Generated scenes, drawn when loaded; an index always gives the same scene."""

    class_names: tuple[str, ...] = CLASS_NAMES
    skeleton: Skeleton | None = None

    def __init__(self, images: int, seed: int, image_hw: tuple[int, int]) -> None:
        self.remarks: Remarks = {}
        self._images = images
        self._seed = seed
        self._image_hw = image_hw

    def __len__(self) -> int:
        return self._images

    def name(self, index: int) -> str:
        """Return the name of a scene."""
        return f"scene-{self._seed}-{index}"

    def encoded(self, index: int) -> bytes:
        """Return the scene as a PNG file."""
        _, png = cv2.imencode(".png", cv2.cvtColor(self.load(index).image, cv2.COLOR_RGB2BGR))
        return png.tobytes()

    def path(self, index: int) -> Path | None:
        """Return None: a scene has no file."""
        return None

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Draw a scene, and return the class ids of its labels."""
        return self.load(index).labelled_classes

    def load(self, index: int) -> Sample:
        """Draw and return a scene; raise IndexError if the index is out of range."""
        if not 0 <= index < self._images:
            raise IndexError(f"scene {index} is outside 0..{self._images - 1}")
        rng = np.random.default_rng([self._seed, index])
        return self._compose(index, self.name(index), self._image_hw, rng)

    @abstractmethod
    def _compose(self, index: int, name: str, image_hw: tuple[int, int], rng: Rng) -> Sample: ...


class ScenesDataset(DrawnScenes):
    """Generated scenes whose objects are labelled with boxes; scene i is of regime i modulo 3."""

    def regime(self, index: int) -> str:
        """Return the regime of a scene: one of REGIMES."""
        return REGIMES[index % len(REGIMES)]

    def _compose(self, index: int, name: str, image_hw: tuple[int, int], rng: Rng) -> Sample:
        regime = self.regime(index)
        canvas = BACKGROUNDS[regime](image_hw, rng)
        boxes_xyxy, class_ids = draw(canvas, place(_plan(regime, rng), image_hw, rng))
        return Sample(finish(canvas, regime, rng), boxes_xyxy, class_ids, name)


class ClassScenesDataset(DrawnScenes):
    """Generated scenes for classifiers; scene i is of class i modulo 5.

    A scene shows one to three objects, all of its class, on a random background.
    """

    def _compose(self, index: int, name: str, image_hw: tuple[int, int], rng: Rng) -> Sample:
        image_class = index % len(CLASS_NAMES)
        regime = REGIMES[rng.integers(len(REGIMES))]
        canvas = BACKGROUNDS[regime](image_hw, rng)
        makers = _MAKERS[CLASS_NAMES[image_class]]
        count = int(rng.integers(1, MOST_THINGS + 1))
        plan = Plan(count, (0.15, 0.35), 0.5, tuple((maker, 1 / len(makers)) for maker in makers))
        draw(canvas, place(plan, image_hw, rng))
        image, class_ids = finish(canvas, regime, rng), np.zeros(0, dtype=np.int64)
        return Sample(image, no_boxes(), class_ids, name, image_class=image_class)


_MAKERS: Mapping[str, tuple[Maker, ...]] = {
    "disc": (scene_objects.disc_cell, scene_objects.coin),
    "ring": (scene_objects.ring_cell,),
    "fish": (scene_objects.fish,),
    "star": (scene_objects.starfish,),
    "card": (scene_objects.card,),
}


def _plan(regime: str, rng: Rng) -> Plan:
    match regime:
        case "microscope" if rng.random() < 0.2:
            return Plan(int(rng.integers(1, 4)), (0.09, 0.18), 0.9, _CELLS)
        case "microscope":
            return Plan(int(rng.integers(10, 41)), (0.03, 0.065), 0.8, _CELLS)
        case "aquarium" if rng.random() < 0.5:
            return Plan(int(rng.integers(1, 6)), (0.08, 0.2), 0.5, _SWIMMERS)
        case "aquarium":
            return Plan(int(rng.integers(8, 31)), (0.03, 0.07), 0.6, _SWIMMERS)
        case _:
            return Plan(int(rng.integers(1, 5)), (0.17, 0.3), 0.5, _CARDS)


_CELLS = ((scene_objects.ring_cell, 0.7), (scene_objects.disc_cell, 0.3))
_CARDS = ((scene_objects.card, 0.8), (scene_objects.coin, 0.2))
_SWIMMERS = ((scene_objects.fish, 0.8), (scene_objects.starfish, 0.2))
BACKGROUNDS: Mapping[str, Callable[[tuple[int, int], Rng], NDArray[np.float32]]] = {
    "microscope": microscope_field,
    "aquarium": aquarium_water,
    "table": table_top,
}
REGIMES = tuple(BACKGROUNDS)  # they look different, so that routing can tell them apart


def place(plan: Plan, image_hw: tuple[int, int], rng: Rng) -> list[Thing]:
    """Return the objects of a scene at random poses; an object without a free place is left out."""
    shorter = min(image_hw)
    makers, chances = zip(*plan.makers, strict=True)
    poses: list[Pose] = []
    for _ in range(plan.count):
        radius = rng.uniform(*plan.radius) * shorter
        for _attempt in range(20):
            x, y = rng.uniform(0.04, 0.96, size=2) * image_hw[::-1]
            pose = Pose(float(x), float(y), radius, rng.uniform(-np.pi, np.pi))
            if not any(_too_close(pose, other, plan.spacing) for other in poses):
                poses.append(pose)
                break
    return [makers[rng.choice(len(makers), p=chances)](pose, rng) for pose in poses]


def _too_close(one: Pose, other: Pose, spacing: float) -> bool:
    return math.hypot(one.x - other.x, one.y - other.y) < spacing * (one.radius + other.radius)


def draw(canvas: NDArray[np.float32], things: list[Thing]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Paint objects onto an image (H, W, 3), first to last; return their boxes (N, 4) and class ids (N,).

    A box is the exact extent of an object's pixels that later opaque objects leave visible. Objects with less
    than MIN_VISIBLE of their area visible, or a side shorter than MIN_SIDE_PX, are painted but not labelled.
    """
    masks = [_paint(canvas, thing) for thing in things]
    covered = np.zeros(canvas.shape[:2], dtype=bool)
    boxes, class_ids = [], []
    for thing, (mask, x, y) in zip(reversed(things), reversed(masks), strict=True):
        window = covered[y : y + mask.shape[0], x : x + mask.shape[1]]
        visible = mask & ~window
        if not thing.see_through:
            window |= mask
        if visible.sum() < MIN_VISIBLE * mask.sum() or not visible.any():
            continue
        columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
        box = (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)
        if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE_PX:
            boxes.append(box)
            class_ids.append(CLASS_NAMES.index(thing.class_name))
    # Collected last to first; labels are returned in the order of drawing.
    return (
        np.array(boxes[::-1], dtype=np.float32).reshape(-1, 4),
        np.array(class_ids[::-1], dtype=np.int64),
    )


def _paint(canvas: NDArray[np.float32], thing: Thing) -> tuple[NDArray[np.bool_], int, int]:
    """Blend an object into the canvas; return the mask of its pixels, and x and y of the mask's corner.

    The mask is true for pixels of which the object covers at least half. Its corner, the upper left one,
    is in pixels of the canvas.
    """
    height, width = canvas.shape[:2]
    low = np.floor(thing.outline.min(axis=0)).astype(int) - 1
    high = np.ceil(thing.outline.max(axis=0)).astype(int) + 1
    x1, y1 = np.clip(low, 0, [width - 1, height - 1])
    x2, y2 = np.clip(high, [x1 + 1, y1 + 1], [width, height])
    coverage = _coverage(thing.outline - [x1, y1], (int(y2 - y1), int(x2 - x1)))  # (h, w)

    v_canvas, u_canvas = np.mgrid[y1:y2, x1:x2].astype(np.float32) + np.float32(0.5)
    colour, alpha = thing.paint(*thing.pose.to_local(u_canvas, v_canvas))  # (h, w, 3), (h, w)
    weight = (alpha * coverage)[..., None]
    window = canvas[y1:y2, x1:x2]
    window += weight * (colour - window)
    return coverage >= 0.5, int(x1), int(y1)


def _coverage(outline: NDArray[np.float64], patch_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Return the fraction of each pixel that a polygon covers, (h, w) 0..1."""
    fine = np.zeros((patch_hw[0] * FINER, patch_hw[1] * FINER), dtype=np.uint8)
    # Drawn larger, then averaged, since OpenCV's own anti-aliasing makes a polygon a pixel too wide. Outlines
    # refer to pixel edges, OpenCV to pixel centres; shift=4 keeps sixteenths of a pixel.
    points = np.round((outline * FINER - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [points], 255, shift=4)
    mean = cv2.resize(fine, patch_hw[::-1], interpolation=cv2.INTER_AREA)
    return mean.astype(np.float32) / np.float32(255)
