"""Replace the mixture layers of a network by ordinary layers, so that nothing in it is routed."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from training.models.mixture.layer import MixtureLayer
from training.models.network import Network

# For each place of a mixture, the stage whose output enters the mixture.
STAGE_BEFORE = {
    **{f"backbone.{stage}": f"backbone.{stage}" for stage in ("p2", "p3", "p4", "p5")},
    "neck.p3": "neck.top_down_p3",
    "neck.p4": "neck.bottom_up_p4",
    "neck.p5": "neck.bottom_up_p5",
}


def replace_mixtures(model: Network, layer_for: Callable[[str, MixtureLayer], nn.Module]) -> None:
    """Replace each mixture layer of a network by another layer, so that there are no run-time controls.

    Args:
        model: changed in place; its mixture layers are in the backbone and the neck.
        layer_for: returns the new layer, given the place's name and its mixture layer.
    """
    layers = model.mixture_layers()
    for place, layer in layers.items():
        part, name = STAGE_BEFORE[place].split(".")
        parent = model.get_submodule(part)
        setattr(parent, name, nn.Sequential(getattr(parent, name), layer_for(place, layer)))
    for part in {place.split(".")[0] for place in layers}:
        model.get_submodule(part).mixtures = nn.ModuleDict()
    model.path_router = None
    model.config = replace(model.config, mixtures={}, paths=None)
