"""What `python -m training inspect` does, and what can be written after it."""

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from training.data.sample import Dataset
from training.errors import ConfigError
from training.evaluate.routed import RoutedImages, route_images
from training.evaluate.routing_report import RoutingReport, report_routing
from training.models.cost import Cost, measure_cost
from training.models.mixture.routing import RoutingControls
from training.models.network import Network


@dataclass(frozen=True, eq=False)
class Inspection:
    """A model on a data set: the report, and what pictures of it are drawn from."""

    variant: str
    controls: RoutingControls
    data: str  # in words
    dataset: Dataset
    cost: Cost
    routed: RoutedImages
    report: RoutingReport

    @property
    def facts(self) -> dict[str, object]:
        """What was run on what, for machines."""
        return {"variant": self.variant, **self.controls._asdict(), "data": self.data}

    @property
    def heading(self) -> str:
        """What was run on what, in words."""
        top_k, threshold = self.controls
        rule = f"top_k {top_k}" + (f", from a probability of {threshold:g} on" if threshold else "")
        return f"{self.variant}, {rule}; {self.report.images} images: {self.data}"


def inspect(
    model: Network, dataset: Dataset, controls: RoutingControls, data: str, *, quiet: bool = False
) -> Inspection:
    """Route every image of a data set, and measure what the routers know of them.

    Args:
        data: what the data set is, in words.

    Raises:
        ConfigError: the model has no mixture, or runs no expert: there is no routing.
        DatasetError: an image cannot be loaded.
    """
    if not model.config.mixtures:
        raise ConfigError(
            f"{model.config.variant} has no mixture of experts, so there is no routing to inspect"
        )
    if controls.top_k == 0:
        raise ConfigError("top_k=0 chooses no expert, so there is no routing to inspect; say 1 or more")
    routed = route_images(model, dataset, controls, quiet=quiet)
    cost = measure_cost(model)
    report = report_routing(routed, dataset, cost)
    return Inspection(model.config.variant, controls, data, dataset, cost, routed, report)


def require_layer(layer: str | None, layers: Collection[str]) -> None:
    """Raises ConfigError for a layer that is no mixture of a model; names those. None: any will do."""
    if layer is not None and layers and layer not in layers:
        raise ConfigError(f"no mixture in {layer!r}; they stand in {', '.join(layers)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every flag of its own; arguments.py adds those that commands share."""
    parser.description = (
        "Measure what the routers of a checkpoint know of the images: bits of routing information, experts "
        "that no image chose, how much the chosen experts depend on where an image comes from and on how "
        "crowded it is, and what images cost. training/lab/inspection/README.md says how to read it."
    )
    parser.add_argument("checkpoint", type=Path, help="model.safetensors")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="also draw pictures into this folder")
    parser.add_argument(
        "--layer",
        help="with --output: whose experts example pictures are sorted by; default: the one with most bits",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
