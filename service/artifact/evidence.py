"""Define the parts of a manifest that say how an artifact was made, and what the exporter measured of it."""

from typing import Annotated

from pydantic import Field

from service.artifact.task_settings import Share
from service.artifact.tensors import NotNegative, Part, Positive

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MetricPair(Part):
    """The task's metric for the checkpoint and for the graph, both measured on the export's data."""

    name: Annotated[str, Field(min_length=1)]
    checkpoint: Share
    graph: Share


class Parity(Part):
    """The largest difference between graph and checkpoint for each output, measured at export.

    Artifacts of older exporters lack some of the values, which are then None.
    """

    images: Positive
    distinct_expert_sets: Annotated[int, Field(ge=0)]
    differences: dict[str, NotNegative]
    compared_boxes: Positive | None = None
    skippable_experts: Annotated[int, Field(ge=0)] | None = None
    expert_sets: Share | None = None
    metric: MetricPair | None = None


class Speed(Part):
    """The measured times of the sparse and the dense graph; the exporter chose a graph by these times."""

    sparse_to_dense: Annotated[float, Field(gt=0)]
    sparse_ms: NotNegative
    dense_ms: NotNegative
    machine: str


class ControlSetting(Part):
    """One setting of the controls, and what the exporter measured with it."""

    top_k: Annotated[int, Field(ge=0)]
    weight_threshold: Share
    metric: Share
    expert_share: Share  # mean share of the experts of all layers that ran for an image
    gflops: NotNegative  # mean over the images
    ms: NotNegative  # for one image
    same_experts: Share | None  # share of (image, layer) with the checkpoint's experts; None: not compared


class DefaultControls(Part):
    """The reason for the defaults of the controls, and the settings among which the exporter chose, if any.

    The exporter measured these settings with training images, not with the images that it used for `baseline`
    and for the metric in `parity`.
    """

    reason: str
    data: str
    images: Annotated[int, Field(ge=0)]
    metric: str
    measured: tuple[ControlSetting, ...]


class Provenance(Part):
    """The origin of the weights: checkpoint, training data, metrics and attribution."""

    checkpoint_sha256: Sha256
    data: str
    metrics: dict[str, float]
    attribution: str
    checkpoint: str = ""
