"""Derive from two manifests how much the answers of two correct artifacts of one model may differ."""

from dataclasses import dataclass
from typing import Self

from service.artifact.manifest import Manifest

# Sound engines differ at least so much, because they add numbers in other orders and on other processors.
_PIXELS, _SCORE, _ROUTER, _ANGLE = 1.0, 0.01, 0.01, 0.02
_MASK, _ROUNDED_MASK = 0.02, 0.1  # 1 - IoU; the second is for each artifact that is not in f32
_RATE = 0.02  # images that may disagree beyond all limits, as a share


@dataclass(frozen=True)
class Limits:
    """The largest differences that count as agreement, and the share of images that may differ by more."""

    pixels: float  # of a box's edge, in pixels of the model input
    score: float  # of a box's score, or of a class's probability
    router: float  # of a router's probabilities; experts that differ by less may swap
    mask: float  # 1 - IoU
    keypoint: float  # in pixels of the model input
    angle: float  # radians
    rate: float  # share of images, 0..1

    @classmethod
    def of(cls, audited: Manifest, reference: Manifest) -> Self:
        """Return the limits for the answers of two artifacts, from what their exporter measured.

        Each artifact may differ from its checkpoint as much as in the exporter's comparison. So two artifacts
        may differ by the sum.
        """
        both = (audited, reference)

        def limit(least: float, *roles: str) -> float:
            return max(least, sum(_difference(one, roles) for one in both))

        other_experts = sum(1 - (1.0 if (same := one.parity.expert_sets) is None else same) for one in both)
        return cls(
            pixels=limit(_PIXELS, "boxes_xyxy"),
            score=limit(_SCORE, "scores", "class_scores", "probabilities"),
            router=limit(_ROUTER, "router_probs", "gates"),
            mask=_MASK + sum(_ROUNDED_MASK for one in both if one.precision != "f32"),
            keypoint=limit(_PIXELS, "keypoints"),
            angle=limit(_ANGLE, "angles"),
            rate=min(0.25, _RATE + other_experts),
        )


def _difference(manifest: Manifest, roles: tuple[str, ...]) -> float:
    """Return by how much an artifact's output may differ from its checkpoint's; 0 without such an output.

    This is the exporter's measured difference for the first role that has one, but at most the output's
    tolerance. For f32, it is the tolerance: differences in f32 depend on the engine, so a difference that was
    measured with one engine does not bound those of another.
    """
    rows = [row for role in roles for row in manifest.outputs if row.role == role]
    for row in rows:
        measured = manifest.parity.differences.get(row.name)
        if measured is not None and manifest.precision != "f32":
            return min(measured, row.tolerance.absolute)
    return rows[0].tolerance.absolute if rows else 0.0
