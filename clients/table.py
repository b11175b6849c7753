"""An answer as text for people."""

import math

from clients.types import Detections, ExpertActivation


def as_table(title: str, found: Detections) -> str:
    """Lay out what was found, and for each mixture layer which experts ran.

    Args:
        title: what to call the picture.
        found: in it.
    """
    height, width = found.image_hw
    lines = [
        f"{title}: {width} x {height} pixels, {found.model.name} version {found.model.version},"
        f" {len(found)} found"
    ]
    if len(found):
        name_width = max(len("class"), *map(len, found.class_names))
        lines += [
            "",
            f"  {'class':<{name_width}}  {'score':>6}  {'left':>8}  {'top':>8}  {'right':>8}  {'bottom':>8}",
        ]
        for one in found:
            corners = "  ".join(f"{value:>8.1f}" for value in one.box_xyxy)
            lines.append(f"  {one.class_name:<{name_width}}  {one.score:>6.3f}  {corners}")
    if found.experts:
        lines += ["", *_experts(found)]
    return "\n".join([*lines, ""])


def _experts(found: Detections) -> list[str]:
    ran = [_ran(layer) for layer in found.experts]
    layer_width = max(len("layer"), *(len(layer.layer) for layer in found.experts))
    ran_width = max(len("experts that ran"), *map(len, ran))
    lines = [f"  {'layer':<{layer_width}}  {'experts that ran':<{ran_width}}  of  router's entropy, bits"]
    for layer, experts in zip(found.experts, ran, strict=True):
        entropy = f"{layer.entropy_bits:.2f} of {math.log2(layer.num_experts):.2f}"
        lines.append(
            f"  {layer.layer:<{layer_width}}  {experts:<{ran_width}}  {layer.num_experts:>2}  {entropy}"
        )
    if found.routing == "static":
        lines.append(
            "  What this model's routers say does not depend on the image, so it says nothing about this one."
        )
    return lines


def _ran(layer: ExpertActivation) -> str:
    pairs = zip(layer.active, layer.weights, strict=True)
    return ", ".join(f"{expert} ({weight:.0%})" for expert, weight in pairs) or "none"
