"""Build the HTTP API's explanation of a route."""

from service.explain.explanation import Explanation
from service.rest import wire


def to_explanation(found: Explanation) -> wire.Explanation:
    """Return the API's explanation of one image."""
    rows, cols = found.layers[0].effects.shape
    x, y, width, height = (round(length, 3) for length in found.box_xywh)
    return wire.Explanation(
        rows=rows,
        cols=cols,
        x=x,
        y=y,
        width=width,
        height=height,
        layers=[
            wire.LayerExplanation(
                layer=layer.layer,
                expert=layer.expert,
                log_odds=round(layer.log_odds, 4),
                effects=layer.effects.round(4).tolist(),
                marked_fall=round(layer.marked_fall, 4),
                random_fall=round(layer.random_fall, 4),
                whole_fall=round(layer.whole_fall, 4),
            )
            for layer in found.layers
        ],
        runs=found.runs,
        ms=round(found.seconds * 1000, 2),
    )
