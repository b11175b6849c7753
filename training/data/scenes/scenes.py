"""Generated scenes of three kinds, from sparse to crowded, with exact boxes; they need no files."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.images.reduced_jpeg import Fit
from training.data.labels.remarks import Remarks
from training.data.masks import Mask
from training.data.sample import Sample, no_boxes
from training.data.scenes import objects as scene_objects
from training.data.scenes.backgrounds import aquarium_water, finish, microscope_field, table_top
from training.data.scenes.objects import RAY_SKELETON, Maker, Pose, Rng, Thing
from training.skeleton import Skeleton

CLASS_NAMES = ("disc", "ring", "fish", "star", "card")
POSED_CLASSES = ("ray",)
ORIENTED_CLASSES = ("rod", "fish", "card")
MIN_VISIBLE = 0.15  # smallest visible fraction of an object at which the object is labelled
MIN_SIDE_PX = 2
FINER = 4  # subdivisions of a pixel's side when an outline is drawn
MOST_THINGS = 3  # objects in a scene of ClassScenesDataset


@dataclass(frozen=True)
class Plan:
    """The number of objects in a scene, their kinds and sizes, and their distances."""

    count: int
    radius: tuple[float, float]  # smallest and largest, as fractions of the image's shorter side
    spacing: float  # smallest distance of two centres ÷ the sum of their radii
    makers: tuple[tuple[Maker, float], ...]  # each with its probability


class Shown(NamedTuple):
    """An object of a scene, with the pixels of it that later opaque objects leave visible."""

    thing: Thing
    mask: Mask  # its window is the object's visible extent
    keypoints: NDArray[np.float32]  # (P, 3) x, y, and 1: hidden, 2: visible; all 0: outside the image

    def box(self) -> tuple[int, int, int, int]:
        """Return the extent of the visible pixels: left, top, right and bottom."""
        height, width = self.mask.bitmap.shape
        return self.mask.left, self.mask.top, self.mask.left + width, self.mask.top + height


class DrawnScenes(ABC):
    """Generated scenes, which are drawn when loaded; an index always gives the same scene."""

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

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Draw and return a scene with all its pixels; raise IndexError if the index is out of range."""
        if not 0 <= index < self._images:
            raise IndexError(f"scene {index} is outside 0..{self._images - 1}")
        rng = np.random.default_rng([self._seed, index])
        return self._compose(index, self.name(index), self._image_hw, rng)

    @abstractmethod
    def _compose(self, index: int, name: str, image_hw: tuple[int, int], rng: Rng) -> Sample: ...


class ScenesDataset(DrawnScenes):
    """Generated scenes whose objects are labelled one by one.

    A regime is a kind of scene. There are three: microscope, aquarium and table. Scene i has regime number
    i modulo 3.

    With labels "masks", the scenes are the same as with "boxes", and each object also has the mask of its
    visible pixels. With "keypoints", the scenes show rays (the fish) seen from above, and each has the
    keypoints of RAY_SKELETON. With "corners", the scenes show only elongated objects, because round objects
    have no direction. An oriented box then encloses the whole object, including covered parts and parts
    outside the image. `boxes_xyxy` holds the upright box around the oriented box, clipped to the image.
    """

    def __init__(
        self,
        images: int,
        seed: int,
        image_hw: tuple[int, int],
        labels: Literal["boxes", "masks", "keypoints", "corners"] = "boxes",
    ) -> None:
        super().__init__(images, seed, image_hw)
        self.labels = labels
        self.class_names = {"keypoints": POSED_CLASSES, "corners": ORIENTED_CLASSES}.get(labels, CLASS_NAMES)
        self.skeleton = RAY_SKELETON if labels == "keypoints" else None

    def regime(self, index: int) -> str:
        """Return the regime, which is the kind, of a scene: one of REGIMES."""
        return REGIMES[index % len(REGIMES)]

    def _compose(self, index: int, name: str, image_hw: tuple[int, int], rng: Rng) -> Sample:
        regime = self.regime(index)
        canvas = BACKGROUNDS[regime](image_hw, rng)
        shown = paint(canvas, place(self._plan(regime, rng), image_hw, rng))
        boxes, class_ids = _boxes(shown, self.class_names)
        sample = Sample(finish(canvas, regime, rng), boxes, class_ids, name)
        match self.labels:
            case "masks":
                return replace(sample, masks=tuple(each.mask for each in shown))
            case "keypoints":
                found = [each.keypoints for each in shown]
                points = np.array(found, dtype=np.float32).reshape(-1, len(RAY_SKELETON.names), 3)
                return replace(sample, keypoints=points)
            case "corners":
                rectangles = [each.thing.corners() for each in shown]
                corners = np.array(rectangles, dtype=np.float32).reshape(-1, 4, 2)
                around = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
                edges = np.array([*image_hw[::-1]] * 2, dtype=np.float32)
                return replace(sample, boxes_xyxy=np.clip(around, 0, edges), corners=corners)
            case _:
                return sample

    def _plan(self, regime: str, rng: Rng) -> Plan:
        match self.labels:
            case "keypoints":
                return Plan(int(rng.integers(1, 7)), (0.08, 0.2), 0.7, ((scene_objects.ray, 1.0),))
            case "corners":
                return replace(_plan(regime, rng), makers=((_ELONGATED[regime], 1.0),))
            case _:
                return _plan(regime, rng)


class ClassScenesDataset(DrawnScenes):
    """Generated scenes for classifiers; scene i has class number i modulo 5.

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
_ELONGATED = {"microscope": scene_objects.rod, "aquarium": scene_objects.fish, "table": scene_objects.card}
_SWIMMERS = ((scene_objects.fish, 0.8), (scene_objects.starfish, 0.2))
BACKGROUNDS: Mapping[str, Callable[[tuple[int, int], Rng], NDArray[np.float32]]] = {
    "microscope": microscope_field,
    "aquarium": aquarium_water,
    "table": table_top,
}
REGIMES = tuple(BACKGROUNDS)  # they look different, so that routing can tell them apart


def place(plan: Plan, image_hw: tuple[int, int], rng: Rng) -> list[Thing]:
    """Return the objects of a scene at random poses; leave out an object if no free place is found."""
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
    """Paint objects with `paint`; return the boxes (N, 4) and class ids (N,) of the labelled objects.

    A box is the exact extent of an object's visible pixels.
    """
    return _boxes(paint(canvas, things), CLASS_NAMES)


def _boxes(shown: list[Shown], class_names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    boxes = np.array([each.box() for each in shown], dtype=np.float32).reshape(-1, 4)
    return boxes, np.array([class_names.index(each.thing.class_name) for each in shown], dtype=np.int64)


def paint(canvas: NDArray[np.float32], things: list[Thing]) -> list[Shown]:
    """Paint objects onto an image (H, W, 3), first to last; return the ones to label, in the same order.

    An object is painted but not labelled if less than MIN_VISIBLE of its area is visible, or if its visible
    extent has a side shorter than MIN_SIDE_PX.
    """
    masks = [_paint(canvas, thing) for thing in things]
    covered = np.zeros(canvas.shape[:2], dtype=bool)
    found = []
    for thing, (mask, x, y) in zip(reversed(things), reversed(masks), strict=True):
        window = covered[y : y + mask.shape[0], x : x + mask.shape[1]]
        visible = mask & ~window
        keypoints = _seen(thing, covered)
        if not thing.see_through:
            window |= mask
        if visible.sum() < MIN_VISIBLE * mask.sum() or not visible.any():
            continue
        tight = Mask.of(visible)
        if min(tight.bitmap.shape) >= MIN_SIDE_PX:
            found.append(Shown(thing, Mask(x + tight.left, y + tight.top, tight.bitmap), keypoints))
    return found[::-1]  # collected last to first


def _seen(thing: Thing, covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return an object's keypoints (P, 3); `covered` (H, W) holds the pixels that later objects cover."""
    if thing.keypoints is None:
        return np.zeros((0, 3), dtype=np.float32)
    height, width = covered.shape
    seen = np.zeros((len(thing.keypoints), 3), dtype=np.float32)
    for row, (x, y) in zip(seen, thing.keypoints, strict=True):
        if 0 <= x < width and 0 <= y < height:
            row[:] = x, y, 1 if covered[int(y), int(x)] else 2
    return seen


def _paint(canvas: NDArray[np.float32], thing: Thing) -> tuple[NDArray[np.bool_], int, int]:
    """Blend an object into the canvas; return the mask of its pixels, and x and y of the mask's corner.

    The mask is true for each pixel that the object covers at least by half. The corner is the upper left
    corner, in pixels of the canvas.
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
    """Return for each pixel the fraction that a polygon covers, (h, w) 0..1."""
    fine = np.zeros((patch_hw[0] * FINER, patch_hw[1] * FINER), dtype=np.uint8)
    # The polygon is drawn larger and then averaged, because OpenCV's own anti-aliasing makes it a pixel too
    # wide. Outlines refer to pixel edges, OpenCV to pixel centres. shift=4 keeps sixteenths of a pixel.
    points = np.round((outline * FINER - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [points], 255, shift=4)
    mean = cv2.resize(fine, patch_hw[::-1], interpolation=cv2.INTER_AREA)
    return mean.astype(np.float32) / np.float32(255)
