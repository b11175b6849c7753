"""Builds a segmenter, a pose model and a detector of rotated boxes, with answers to check by hand.

The models find the same objects in every image. An image of 32 x 32 pixels is half as wide and high as the
model input: x_input = 2 * x_source. The constants are the answers for such an image.
"""

from pathlib import Path

import numpy as np

from tests.onnx_builders import build_constant

_FOUND = {
    "boxes_xyxy": np.array([[[8, 8, 40, 24], [10, 8, 42, 24], [0, 40, 20, 64]]], np.float32),
    "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
    "class_ids": np.array([[1, 1, 2]], np.int32),
}
_KEPT = [0, 2]  # the box of the first object suppresses that of the second one
_ANSWER = {f"det_{role}": array[0, _KEPT] for role, array in _FOUND.items()}
_KEYPOINTS = (np.arange(27).reshape(1, 3, 3, 3) / 27 * [64, 64, 1]).astype(np.float32)

BOXES_XYXY = _FOUND["boxes_xyxy"][0, _KEPT] / 2
MASKS = np.zeros((2, 32, 32), bool)
MASKS[0, 4:12, 4:10] = True
MASKS[1, 20:32, 0:10] = True
POINTS = _KEYPOINTS[0, _KEPT] / [2, 2, 1]
"""x, y and confidence of the keypoints, (2, 3, 3)."""
_S = np.sqrt(0.5)
CORNERS = np.array([
    [[4, 4], [20, 4], [20, 12], [4, 12]],  # not turned
    [[17, 0], [17, 16], [9, 16], [9, 0]],  # turned by a right angle
    # 10 wide and 12 high, turned by 135 degrees around 5, 26
    [[5 + 11 * _S, 26 + _S], [5 + _S, 26 + 11 * _S], [5 - 11 * _S, 26 - _S], [5 - _S, 26 - 11 * _S]],
])  # fmt: skip
"""Of the rotated boxes, (3, 4, 2)."""


def build_shaped(repository: Path) -> Path:
    """Write the models segment, pose and obb, and return the repository."""
    _segmenter(repository)
    skeleton = {"keypoints": ["nose", "left", "right"], "skeleton": [[0, 1], [0, 2]]}
    answer = _ANSWER | {"det_keypoints": _KEYPOINTS[0, _KEPT]}
    build_constant(repository, "pose", skeleton, _FOUND | {"keypoints": _KEYPOINTS}, answer)
    # The second box covers the first; turned by a right angle, it shares a smaller part: both are kept.
    angles = np.array([[0, np.pi / 2, -np.pi / 4]], np.float32)
    answer = {f"det_{role}": array[0] for role, array in _FOUND.items()} | {"det_angles": angles[0]}
    build_constant(repository, "obb", {}, _FOUND | {"angles": angles}, answer)
    return repository


def _segmenter(repository: Path) -> None:
    """Write a segmenter whose one prototype is positive left of column 20 of the input, and in no other."""
    prototypes = np.full((1, 1, 16, 16), -1, np.float16)
    prototypes[..., :5] = 1  # 0 between the centres of the cells 4 and 5, at column 20
    found = _FOUND | {"mask_coefficients": np.ones((1, 3, 1), np.float32), "prototypes": prototypes}
    masks = MASKS.repeat(2, axis=1).repeat(2, axis=2)
    answer = _ANSWER | {"det_masks": np.packbits(masks, axis=-1)}
    build_constant(repository, "segment", {"mask_stride": 4, "prototypes": 1}, found, answer)
