"""Format an answer as a text table for people."""

import math
from collections.abc import Sequence

from tabulate import tabulate

from .types import Answer, ExpertActivation

_STATIC = "This model's routers choose the same experts for every image."


def as_table(title: str, found: Answer) -> str:
    """Return an answer as text: the detections or classes, and the experts that ran in each layer.

    Args:
        title: name of the image.
        found: the answer for this image.
    """
    height, width = found.image_hw
    layout, model = found.layout(), found.model
    rows = [_table(layout.rows, layout.headers, layout.formats)] if layout.rows else []
    parts = [
        f"{title}: {width} x {height} pixels, {model.name} version {model.version}, {layout.summary}",
        *rows,
        *_experts(found),
    ]
    return "\n\n".join(parts) + "\n"


def _experts(found: Answer) -> list[str]:
    if not found.experts:
        return []
    rows = [
        (
            layer.layer,
            _ran(layer),
            str(layer.num_experts),
            f"{layer.entropy_bits:.2f} of {math.log2(layer.num_experts):.2f}",
        )
        for layer in found.experts
    ]
    table = _table(rows, ("layer", "experts that ran", "of", "router's entropy, bits"), ())
    if found.path is not None:
        table = f"  path {found.path.index}, {found.path.probability:.0%}\n\n{table}"
    if found.routing == "static":
        table += f"\n  {_STATIC}"
    return [table]


def _ran(layer: ExpertActivation) -> str:
    pairs = zip(layer.active, layer.weights, strict=True)
    return ", ".join(f"{expert} ({weight:.0%})" for expert, weight in pairs) or "none"


def _table(rows: Sequence[Sequence[object]], headers: Sequence[str], formats: Sequence[str]) -> str:
    aligned = tabulate(rows, headers, tablefmt="plain", floatfmt=formats or "g", disable_numparse=[0])
    return "\n".join(f"  {line}" for line in aligned.splitlines())
