"""Draws the backgrounds of generated scenes, and adds the camera's blur and grain."""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rng = np.random.Generator


def microscope_field(image_hw: tuple[int, int], rng: Rng) -> Array:
    """Return a pale background, slightly darker towards its corners, (H, W, 3) 0..255."""
    tint = rng.uniform((226, 218, 216), (244, 236, 236)).astype(np.float32)
    y, x = _unit_grid(image_hw)
    light = 1 - rng.uniform(0.04, 0.12) * (x * x + y * y) + 0.025 * _clouds(image_hw, rng, cells=(5, 5))
    return tint * light[..., None].astype(np.float32)


def aquarium_water(image_hw: tuple[int, int], rng: Rng) -> Array:
    """Return blue-green water with specks, lit from above and darker below, (H, W, 3) 0..255."""
    top = rng.uniform((14, 82, 104), (34, 118, 138)).astype(np.float32)
    bottom = rng.uniform((4, 22, 38), (10, 42, 56)).astype(np.float32)
    y, x = _unit_grid(image_hw)
    depth = (y + 1) / 2
    slant, rate, phase = rng.uniform(-0.5, 0.5), rng.uniform(5, 9), rng.uniform(0, 6)
    shafts = np.clip(np.sin(rate * (x + slant * y) + phase), 0, 1) ** 3 * (1 - depth)
    water = top + (bottom - top) * depth[..., None]
    murk = 1 + 0.16 * _clouds(image_hw, rng, cells=(4, 6)) + 0.35 * shafts
    water = water * murk[..., None].astype(np.float32)
    specks = rng.integers(0, image_hw, size=(40, 2))
    water[specks[:, 0], specks[:, 1]] += rng.uniform(10, 45, size=(40, 1)).astype(np.float32)
    return water.astype(np.float32)


def table_top(image_hw: tuple[int, int], rng: Rng) -> Array:
    """Return a table top of wooden planks or felt, (H, W, 3) 0..255."""
    return _felt(image_hw, rng) if rng.random() < 0.35 else _wood(image_hw, rng)


def _wood(image_hw: tuple[int, int], rng: Rng) -> Array:
    height, width = image_hw
    dark, pale = np.array([[96, 58, 34], [190, 144, 96]], dtype=np.float32)
    colour = dark + (pale - dark) * np.float32(rng.random())
    long_fibres = _clouds(image_hw, rng, cells=(max(2, height // 3), 4))
    rings = np.sin(9 * _clouds(image_hw, rng, cells=(7, 3)))
    light = 1 + 0.08 * long_fibres + 0.07 * rings
    plank = max(8, round(height / rng.integers(3, 6)))
    tones = rng.uniform(0.88, 1.08, size=height // plank + 1)
    light *= tones[np.arange(height) // plank][:, None]
    light[np.arange(height) % plank == 0] *= 0.62
    wood = colour * light[..., None].astype(np.float32)
    return np.ascontiguousarray(np.rot90(wood)) if height == width and rng.random() < 0.5 else wood


def _felt(image_hw: tuple[int, int], rng: Rng) -> Array:
    colours = ((28, 92, 62), (112, 34, 44), (40, 62, 112))
    colour = np.array(colours[rng.integers(len(colours))], dtype=np.float32)
    y, x = _unit_grid(image_hw)
    weave = rng.integers(-9, 10, size=image_hw).astype(np.float32) / 100
    light = 1.08 - 0.2 * (x * x + y * y) + weave + 0.06 * _clouds(image_hw, rng, cells=(6, 6))
    return colour * light[..., None].astype(np.float32)


def finish(canvas: Array, regime: str, rng: Rng) -> NDArray[np.uint8]:
    """Return the scene as (H, W, 3) uint8 with grain; blur it slightly if the regime is `microscope`."""
    if regime == "microscope":
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 0.9)).astype(np.float32, copy=False)
    strength = {"microscope": 3, "aquarium": 6, "table": 3}[regime]
    grain = rng.integers(-strength, strength + 1, size=canvas.shape[:2], dtype=np.int8)
    return np.clip(canvas + grain[..., None], 0, 255).astype(np.uint8)


def _unit_grid(image_hw: tuple[int, int]) -> tuple[Array, Array]:
    """Return y (H, 1) and x (1, W), each from -1 to 1."""
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in image_hw)
    return y[:, None], x[None, :]


def _clouds(image_hw: tuple[int, int], rng: Rng, cells: tuple[int, int]) -> Array:
    """Return smooth noise (H, W), mostly within -1..1; `cells` is the number of bumps down and across."""
    coarse = rng.normal(0, 0.5, size=cells).astype(np.float32)
    return cv2.resize(coarse, image_hw[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)
