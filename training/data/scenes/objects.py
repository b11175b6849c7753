"""The objects of generated scenes: each has an outline, and a painter that colours its inside.

A painter takes coordinates u (along the object) and v (across the object). Both are measured from the centre
of the object, in units of its radius.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.skeleton import Skeleton

Array = NDArray[np.floating]
Painter = Callable[[Array, Array], tuple[Array, Array]]  # u, v (h, w) to RGB (h, w, 3) and alpha (h, w)
Rng = np.random.Generator

CARD_ASPECT = 0.7  # width ÷ height, about that of a poker card
SUITS = ("diamond", "heart", "spade", "club")


@dataclass(frozen=True)
class Pose:
    """The centre (in pixels), radius (in pixels) and angle (in radians) of an object in its scene."""

    x: float
    y: float
    radius: float
    angle: float

    def to_canvas(self, points_uv: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points (K, 2) from the object's own axes u, v to pixel coordinates (K, 2)."""
        cos, sin = self.radius * np.cos(self.angle), self.radius * np.sin(self.angle)
        return points_uv @ np.array([[cos, sin], [-sin, cos]]) + [self.x, self.y]

    def to_local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Convert pixel coordinates x, y to the object's own axes u, v."""
        cos, sin = np.float32(np.cos(self.angle) / self.radius), np.float32(np.sin(self.angle) / self.radius)
        across, down = x - np.float32(self.x), y - np.float32(self.y)
        return across * cos + down * sin, down * cos - across * sin


@dataclass(frozen=True)
class Thing:
    """One object, ready to draw."""

    class_name: str
    pose: Pose
    outline: NDArray[np.float64]  # (K, 2) pixels
    paint: Painter
    see_through: bool = False  # whether objects under it stay visible
    keypoints: NDArray[np.float64] | None = None  # (P, 2) pixels; None: the object has none

    def corners(self) -> NDArray[np.float64]:
        """Return the corners (4, 2) of the smallest rectangle along the object's own axes, in pixels.

        The first corner has the smallest u and v; the others follow clockwise. For angle 0, the order is top
        left, top right, bottom right, bottom left. The side from the first to the second corner lies along u.
        """
        along = np.array([np.cos(self.pose.angle), np.sin(self.pose.angle)])
        across = np.array([-along[1], along[0]])
        u, v = (self.outline @ axis for axis in (along, across))
        order = ((u.min(), v.min()), (u.max(), v.min()), (u.max(), v.max()), (u.min(), v.max()))
        return np.array([at_u * along + at_v * across for at_u, at_v in order])


Maker = Callable[[Pose, Rng], Thing]


def ring_cell(pose: Pose, rng: Rng) -> Thing:
    """Make a pink cell with a pale middle, like a red blood cell."""
    colour = rng.uniform((188, 120, 130), (212, 152, 158)).astype(np.float32)
    hole, density = rng.uniform(0.4, 0.55), rng.uniform(0.55, 0.8)

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        rho = np.hypot(u, v)
        rim = _soft(np.abs(rho - 0.88) - 0.06, 0.12)
        alpha = density * (1 - 0.8 * _soft(rho - hole, 0.3)) + 0.15 * rim
        return _mix(colour, colour * np.float32(0.85), rim), alpha

    return Thing("ring", pose, pose.to_canvas(_wobbly_circle(rng, 0.05)), paint, see_through=True)


def disc_cell(pose: Pose, rng: Rng) -> Thing:
    """Make a violet cell with a dark kernel off its centre."""
    colour = rng.uniform((150, 130, 185), (180, 160, 215)).astype(np.float32)
    kernel = rng.uniform((85, 50, 130), (110, 75, 155)).astype(np.float32)
    kernel_u, kernel_v = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)
    size = rng.uniform(0.4, 0.55)

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        inside = _soft(np.hypot(u - kernel_u, (v - kernel_v) * 1.25) - size, 0.2)
        return _mix(colour, kernel, inside), 0.6 + 0.3 * inside

    return Thing("disc", pose, pose.to_canvas(_wobbly_circle(rng, 0.08)), paint, see_through=True)


def coin(pose: Pose, rng: Rng) -> Thing:
    """Make a metal disc with a raised edge, lit from one side and smaller than the cards around it."""
    small = Pose(pose.x, pose.y, pose.radius * 0.45, pose.angle)
    metal = np.array([(196, 150, 70), (184, 186, 190), (176, 108, 74)][rng.integers(3)], dtype=np.float32)

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        rho = np.hypot(u, v)
        edge = _soft(np.abs(rho - 0.86) - 0.05, 0.06)
        light = 1 + 0.25 * u - 0.15 * edge + 0.12 * _soft(np.abs(rho - 0.45) - 0.12, 0.1)
        return metal * light[..., None], np.ones_like(u)

    return Thing("disc", small, small.to_canvas(_wobbly_circle(rng, 0.0)), paint)


def fish(pose: Pose, rng: Rng) -> Thing:
    """Make a fish with a forked tail and a pale belly, sometimes striped or faded."""
    level = Pose(pose.x, pose.y, pose.radius, rng.normal(0, 0.35) + (np.pi if rng.random() < 0.5 else 0))
    palette = ((232, 132, 42), (226, 200, 62), (150, 176, 186), (84, 138, 206), (204, 86, 96))
    colour = np.array(palette[rng.integers(len(palette))], dtype=np.float32)
    back = colour * np.float32(rng.uniform(0.8, 1.05))
    belly = back * np.float32(0.45) + np.float32(125)
    stripes = rng.uniform(0.35, 0.6) if rng.random() < 0.5 else 0.0
    stripe_rate = rng.uniform(8, 14)
    plump = rng.uniform(0.3, 0.46)
    alpha = np.float32(rng.uniform(0.62, 0.98))
    upwards = np.float32(np.sign(np.cos(level.angle)))  # a fish that swims left is turned, not upside down

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        down = v * upwards
        colour = _mix(back, belly, np.clip(0.5 + down / plump, 0, 1))
        band = stripes * np.clip(3 * np.sin(stripe_rate * u), 0, 1)
        colour = colour * (1 - band[..., None])
        eye = np.hypot(u - 0.72, down + 0.22 * plump)
        colour = _mix(colour, np.float32(245), _soft(eye - 0.085, 0.05))
        colour = _mix(colour, np.float32(12), _soft(eye - 0.045, 0.05))
        return colour, np.full_like(u, alpha)

    return Thing("fish", level, level.to_canvas(_fish_outline(plump)), paint)


def starfish(pose: Pose, rng: Rng) -> Thing:
    """Make a starfish: five round-tipped arms with rows of pale dots."""
    colour = rng.uniform((176, 62, 40), (226, 120, 84)).astype(np.float32)
    turn = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    reach = 0.42 + 0.58 * (0.5 + 0.5 * np.cos(5 * turn)) ** rng.uniform(1.3, 2.0)
    outline = np.column_stack([reach * np.cos(turn), reach * np.sin(turn)])

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        rho, angle = np.hypot(u, v), np.arctan2(v, u)
        off_arm = np.abs((angle * 5 / (2 * np.pi) + 0.5) % 1 - 0.5) * rho  # 0 on the middle line of an arm
        dots = _soft(off_arm - 0.05, 0.06) * (np.sin(26 * rho) > 0)
        shaded = colour * (1.12 - 0.35 * rho)[..., None]
        return _mix(shaded, np.float32(236), 0.65 * dots), np.full_like(u, 0.95)

    return Thing("star", pose, pose.to_canvas(outline), paint)


def card(pose: Pose, rng: Rng) -> Thing:
    """Make a playing card with one to five pips of one suit."""
    suit = SUITS[rng.integers(len(SUITS))]
    ink = np.array((186, 30, 40) if suit in ("diamond", "heart") else (28, 28, 34), dtype=np.float32)
    paper = np.full(3, rng.uniform(232, 252), dtype=np.float32)
    places = _PIPS[rng.integers(len(_PIPS))]
    size = np.float32(0.34 if len(places) == 1 else 0.17)

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        border = _soft(np.abs(np.maximum(np.abs(u) - 0.7, np.abs(v) - 0.43)) - 0.008, 0.02)
        colour = _mix(paper, np.float32(150), 0.5 * border)
        for pip_u, pip_v in places:
            inked = _soft(_pip((v - pip_v) / size, (u - pip_u) / size, suit), 0.08)
            colour = _mix(colour, ink, inked)
        return colour, np.ones_like(u)

    return Thing("card", pose, pose.to_canvas(_card_outline()), paint)


def rod(pose: Pose, rng: Rng) -> Thing:
    """Make a rod with round ends and a dark rim, like a bacterium under the microscope."""
    colour = rng.uniform((70, 105, 120), (120, 165, 175)).astype(np.float32)
    half_v = float(rng.uniform(0.24, 0.34))

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        past_end = np.maximum(np.abs(u) - np.float32(1 - half_v), 0)
        rim = _soft(np.float32(half_v - 0.06) - np.hypot(past_end, v), 0.08)
        return _mix(colour, colour * np.float32(0.55), rim), np.full_like(u, 0.92)

    return Thing("rod", pose, pose.to_canvas(_rod_outline(half_v)), paint)


RAY_SKELETON = Skeleton(
    names=("nose", "left_fin", "right_fin", "tail_root", "tail_tip"),
    flip_ids=(0, 2, 1, 3, 4),
    edges=((0, 1), (0, 2), (1, 3), (2, 3), (3, 4)),
)
RAY_POINTS = np.array([[0.84, 0], [-0.03, -0.78], [-0.03, 0.78], [-0.38, 0], [-0.9, 0]])  # u, v
# Both fins look alike: only nose and tail tell left from right, so that a mirrored image shows a true ray.
RAY_SPOTS = ((250, 220, 40), (245, 245, 245), (245, 245, 245), (20, 20, 24), (230, 40, 40))
RAY_SPOT = 0.08  # radius of a spot ÷ radius of the ray


def ray(pose: Pose, rng: Rng) -> Thing:
    """Make a ray seen from above, with a spot at each keypoint of RAY_SKELETON."""
    colour = rng.uniform((60, 80, 70), (130, 135, 150)).astype(np.float32)

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        spine = np.float32(0.3) * _soft(np.abs(v) - 0.03, 0.06)
        painted = _mix(colour, np.float32(20), spine)
        for (at_u, at_v), spot in zip(RAY_POINTS.astype(np.float32), RAY_SPOTS, strict=True):
            inside = _soft(np.hypot(u - at_u, v - at_v) - np.float32(RAY_SPOT), 0.04)
            painted = _mix(painted, np.array(spot, dtype=np.float32), inside)
        return painted, np.ones_like(u)

    outline, keypoints = pose.to_canvas(_ray_outline()), pose.to_canvas(RAY_POINTS)
    return Thing("ray", pose, outline, paint, keypoints=keypoints)


_PIPS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.0, 0.0),),
    ((-0.4, 0.0), (0.4, 0.0)),
    ((-0.45, 0.0), (0.0, 0.0), (0.45, 0.0)),
    ((-0.42, -0.22), (-0.42, 0.22), (0.42, -0.22), (0.42, 0.22)),
    ((-0.42, -0.22), (-0.42, 0.22), (0.0, 0.0), (0.42, -0.22), (0.42, 0.22)),
)


def _pip(x: Array, y: Array, suit: str) -> Array:
    """Return the approximate distance of points from the outline of a suit's symbol; negative inside it.

    The symbol extends from about y = -1 to y = 1.
    """
    if suit == "diamond":
        return np.abs(x) / 0.75 + np.abs(y) - 1
    if suit == "club":
        leaves = [np.hypot(x, y + 0.45), np.hypot(x - 0.48, y - 0.2), np.hypot(x + 0.48, y - 0.2)]
        return np.minimum(np.minimum.reduce(leaves) - 0.42, _stem(x, y))
    heart = _heart(x, y if suit == "heart" else -y)
    return heart if suit == "heart" else np.minimum(heart, _stem(x, y))


def _heart(x: Array, y: Array) -> Array:
    across = np.abs(x)
    lobes = np.hypot(across - 0.43, y + 0.35) - 0.5
    # Tangents from the lobes to the tip at y = 0.9, below the lines from a lobe's tangent point to the cleft.
    point = np.maximum(across * 0.752 + y * 0.659 - 0.593, across * 0.41 - 0.35 - y)
    return np.minimum(lobes, point)


def _stem(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x) - 0.12 - 0.2 * np.clip(y - 0.4, 0, 1), np.abs(y - 0.5) - 0.5)


def _wobbly_circle(rng: Rng, wobble: float) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = np.arange(2, 5)
    swing, phase = rng.normal(0, wobble / waves)[:, None], rng.uniform(0, 2 * np.pi, (3, 1))
    reach = 0.95 + (swing * np.cos(waves[:, None] * turn + phase)).sum(axis=0)
    return np.column_stack([reach * np.cos(turn), reach * np.sin(turn)])


def _fish_outline(plump: float) -> NDArray[np.float64]:
    """Return a fish's outline, which begins with its back; the nose is at u = 1, the tail ends at u = -1."""
    along = np.linspace(1, -0.6, 24)
    rise = (along + 0.6) / 1.6  # 0 at the root of the tail, 1 at the nose
    half = plump * 2.2 * np.sqrt(1 - rise) * (0.12 + rise * 0.75) * np.where(rise > 0.98, 0.9, 1.0)
    side = np.column_stack([along, half])
    tail = np.array([[-0.7, 0.16 * plump + 0.04], [-1.0, 0.85 * plump], [-0.86, 0.0]])
    upper = np.concatenate([side, tail])
    return np.concatenate([upper, upper[-2::-1] * [1, -1]])


def _card_outline() -> NDArray[np.float64]:
    """Return a card's outline: a rectangle with round corners near radius 1."""
    half_u, corner = 0.82, 0.07
    turn = np.linspace(0, np.pi / 2, 6)
    arc = corner * np.column_stack([np.cos(turn), np.sin(turn)])
    round_corner = arc + np.array([half_u - corner, half_u * CARD_ASPECT - corner])
    half = np.concatenate([round_corner, round_corner[::-1] * [-1, 1]])
    return np.concatenate([half, -half])


def _rod_outline(half_v: float) -> NDArray[np.float64]:
    """Return a rod's outline: a rectangle with half circles at u = -1 and u = 1."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 17)  # odd, so that the very end is one of the points
    end = half_v * np.column_stack([np.cos(turn), np.sin(turn)]) + [1 - half_v, 0]
    return np.concatenate([end, -end])


def _ray_outline() -> NDArray[np.float64]:
    """Return a ray's outline; the nose is at u = 1, the tail ends at u = -1."""
    head = [[1.0, 0.0], [0.93, 0.13], [0.55, 0.32], [0.15, 0.75]]
    fin = [[-0.05, 0.98], [-0.15, 0.9], [-0.2, 0.5], [-0.45, 0.14]]
    side = np.array([*head, *fin, [-0.92, 0.09], [-1.0, 0.0]])
    return np.concatenate([side, side[-2:0:-1] * [1, -1]])


def _soft(distance: Array, width: float) -> Array:
    """Return 1 well inside a shape and 0 well outside it, with a linear ramp of the given width between."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / width), 0, 1)


def _mix(below: Array | np.float32, above: Array | np.float32, weight: Array) -> Array:
    """Return two colours blended by weights (h, w), as (h, w, 3)."""
    return below + (above - below) * weight[..., None].astype(np.float32)
