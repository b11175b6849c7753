"""The command `python -m training inspect`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from training.data.sample import Dataset
from training.data_config import AS_FOUND, Reading
from training.errors import ConfigError
from training.evaluate.routed import RoutedImages, route_images
from training.evaluate.routing_report import RoutingReport, report_routing
from training.models.cost import Cost, measure_cost
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import find_checkpoint, load_model
from training.trainer.loop import compute_device
from training.workflows.dataset_config import data_name
from training.workflows.measure import controls_of, labelled_for
from training.workflows.run_data import measured_on


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """The options of `inspect`."""

    checkpoint: Path
    data: Path | None = None  # None: the run's validation data, from config.json beside the checkpoint
    split: str | None = None  # None: val, or without a folder the run's validation data
    recipe: str | None = None  # measure on this recipe's validation data in the folder
    classes: tuple[str, ...] = ()  # keep only these classes of the folder; empty: every class
    reading: Reading = AS_FOUND
    top_k: int | None = None  # None: as trained
    weight_threshold: float | None = None  # None: as trained
    layer: str | None = None  # example images are sorted by this layer's experts; None: see telling_layer


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result of `inspect`: a report on a model's routing on a data set, and the values for charts."""

    variant: str
    controls: RoutingControls
    data: str  # name of the data set
    dataset: Dataset
    cost: Cost
    routed: RoutedImages
    report: RoutingReport

    @property
    def facts(self) -> dict[str, object]:
        """Return the model's variant, the controls and the data set as fields for JSON."""
        return {"variant": self.variant, **self.controls.settings, "data": self.data}

    @property
    def heading(self) -> str:
        """Return the model's variant, the controls, the number of images and the data set as text."""
        top_k, threshold = self.controls.top_k, self.controls.weight_threshold
        rule = f"top_k {top_k}" + (f", from a probability of {threshold:g} on" if threshold else "")
        return f"{self.variant}, {rule}; {self.report.images} images: {self.data}"


def require_layer(layer: str | None, layers: Collection[str]) -> None:
    """Raise ConfigError if `layer` is neither None nor the name of a mixture layer in `layers`."""
    if layer is not None and layers and layer not in layers:
        raise ConfigError(f"no mixture in {layer!r}; layers with mixtures: {', '.join(layers)}")


def inspect(options: InspectOptions) -> Inspection:
    """Route every image of a data set, and measure how much information about the image the routing carries.

    Raises:
        ConfigError: the model has no mixture layer, or no layer with the name in `options`. Or top_k is 0 or
            not supported. Or no folder is given, and the checkpoint does not state its training data.
        DatasetError: the folder is missing or has other classes than the model, or an image cannot be loaded.
    """
    checkpoint = find_checkpoint(options.checkpoint)
    model, _ = load_model(checkpoint)
    config = model.config
    require_layer(options.layer, config.mixtures)  # before every image is routed
    selection = (options.data, options.split, options.recipe, options.classes, options.reading)
    data = measured_on(checkpoint, *selection)
    controls = controls_of(model, options.top_k, options.weight_threshold)
    dataset = labelled_for(model, data)
    if not config.mixtures:
        raise ConfigError(f"{config.variant} has no mixture of experts, so there is no routing to inspect")
    if controls.top_k == 0:
        raise ConfigError("top_k=0 chooses no expert, so there is no routing to inspect; say 1 or more")
    routed, cost = route_images(model.to(compute_device()), dataset, controls), measure_cost(model)
    report = report_routing(routed, dataset, cost)
    return Inspection(config.variant, controls, data_name(data), dataset, cost, routed, report)
