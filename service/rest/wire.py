"""Define the JSON bodies of the HTTP API; openapi.json is generated from these classes."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.artifact.task_settings import TaskName
from service.tasks.choose import AnyPrediction


class ModelRef(BaseModel):
    """The model version and the backend that answered."""

    name: str
    version: str
    sha256: Annotated[str, Field(description="sha256 of the manifest, which has the sha256 of every file.")]
    backend: str
    backend_reason: Annotated[
        str,
        Field(description="preferred, requested, or the reason why a preferred backend did not answer."),
    ]
    precision: str


class ImageSize(BaseModel):
    """Size of the image after its EXIF orientation is applied, in pixels."""

    width: int
    height: int


class LayerActivation(BaseModel):
    """The experts that one mixture layer chose for this image."""

    layer: str
    experts: Annotated[int, Field(description="Number of experts in the layer.")]
    active: Annotated[list[int], Field(description="Ids of the chosen experts, ascending.")]
    weights: Annotated[list[float], Field(description="Weights of the active experts; their sum is 1.")]
    entropy_bits: Annotated[float, Field(description="Entropy of the router's probabilities; 0: certain.")]
    probabilities: Annotated[list[float], Field(description="Of every expert; only with moe=full.")] = []


class GflopsUse(BaseModel):
    """Compute for this image, in units of 1e9 operations."""

    used: float
    dense: Annotated[float, Field(description="Compute if every expert had run.")]


class PathTaken(BaseModel):
    """The path that a model with paths chose for this image, before anything else ran."""

    index: Annotated[int, Field(description="Number of the path, from 0.")]
    probability: Annotated[float, Field(description="The router's probability for this path.")]


class Drift(BaseModel):
    """The difference between the routing of recent images and the model's baseline."""

    layer: Annotated[str, Field(description="Where it shows; `path`: only in all layers together.")]
    test: Annotated[
        Literal["mean", "sets", "novelty", "dead", "nan"],
        Field(
            description="What differs. mean: the routers' probabilities; sets: the chosen experts; novelty: "
            "the distance to known images; dead: an expert is not chosen any more; nan: a router gave NaN."
        ),
    ]
    since: Annotated[str, Field(description="Time of the first answer with this drift, ISO 8601.")]


class Moe(BaseModel):
    """The experts that ran for this image, and their compute."""

    layers: list[LayerActivation]
    path: Annotated[PathTaken | None, Field(description="Only of a model with paths.")] = None
    top_k: Annotated[int | None, Field(description="Value that was used; null: the model has no top_k.")]
    gflops: GflopsUse
    degraded: Annotated[bool, Field(description="Whether load or the deadline made fewer experts run.")]
    routing: Annotated[
        Literal["normal", "drifting", "static"],
        Field(
            description="drifting: recent images are routed unlike the model's baseline; "
            "static: every image gets the same experts."
        ),
    ]
    drift: Annotated[Drift | None, Field(description="What differs; only with drifting routing.")] = None


class LayerExplanation(BaseModel):
    """The regions of the image that moved one router; a fall is how much the log-odds become smaller."""

    layer: Annotated[str, Field(description="`path`: the path of a model with paths.")]
    expert: Annotated[int, Field(description="The most probable expert, or the path, which is explained.")]
    log_odds: Annotated[float, Field(description="Of this expert, for the whole image.")]
    effects: Annotated[
        list[list[float]],
        Field(
            description="Rows of cells: how much a cell adds to the log-odds; below 0, it speaks against the"
            " expert."
        ),
    ]
    marked_fall: Annotated[
        float, Field(description="Fall when the quarter of the cells with the largest effects is hidden.")
    ]
    random_fall: Annotated[float, Field(description="Fall when a random quarter of the cells is hidden.")]
    whole_fall: Annotated[float, Field(description="Fall when the whole image is hidden.")]


class Explanation(BaseModel):
    """The regions of the image that moved the routers, as effects of the cells of a grid."""

    rows: int
    cols: int
    x: Annotated[float, Field(description="Left edge of the grid, in pixels of the upright image.")]
    y: Annotated[float, Field(description="Top edge of the grid.")]
    width: float
    height: float
    layers: list[LayerExplanation]
    runs: Annotated[int, Field(description="Number of images for which the graph ran, besides the image.")]
    ms: float


class TimingMs(BaseModel):
    """Milliseconds in each stage; `total` is the time from the last received byte to the answer."""

    decode: float
    queue: float
    preprocess: float
    router: Annotated[float | None, Field(description="Only of a model with paths.")] = None
    infer: float
    postprocess: float
    total: float


class Answer(BaseModel):
    """The answer for one image: detected objects or classes, depending on the model's task."""

    id: str
    file: Annotated[str, Field(description="Name of the file in the form; left out for a raw body.")] = ""
    model: ModelRef
    image: ImageSize
    predictions: Annotated[list[AnyPrediction], Field(description="Highest confidence first.")]
    skeleton: Annotated[
        list[tuple[int, int]] | None,
        Field(description="Pairs of keypoints to join with a line, by position; only of a pose model."),
    ] = None
    moe: Annotated[Moe | None, Field(description="Left out with moe=off.")] = None
    explanation: Annotated[Explanation | None, Field(description="Only with explain=route.")] = None
    timing_ms: TimingMs
    warnings: Annotated[
        list[str], Field(description="Remarks; what of the file was not looked at, as `kind: sentence`.")
    ]


class ParameterFault(BaseModel):
    """One parameter whose name or value is invalid, and the reason."""

    parameter: str
    detail: str


class Problem(BaseModel):
    """An error as an RFC 9457 problem; `detail` says what went wrong and what to do."""

    type: Annotated[str, Field(description="Fixed name; its last part is the reason in the metrics.")]
    title: str
    status: int
    detail: str
    id: Annotated[str, Field(description="Id of the request.")]
    file: Annotated[str, Field(description="Name of the file in a form with several files.")] = ""
    errors: Annotated[list[ParameterFault], Field(description="The invalid parameters, if any.")] = []


class Results(BaseModel):
    """The answers to several images, in the order sent; each one is an answer or a problem."""

    results: list[Answer | Problem]


class TopKChoice(BaseModel):
    """The values that a model accepts for top_k, the number of experts per image and layer."""

    allowed: list[int]
    default: int


class LayerInfo(BaseModel):
    """One mixture layer of a model."""

    layer: str
    num_experts: int
    expert_gflops: list[float]
    information_bits: float | None
    expert_share: list[float] | None


class InputSize(BaseModel):
    """Size of a model's input, in pixels."""

    width: int
    height: int


class ControlInfo(BaseModel):
    """A control: a graph input that a request sets with a query parameter of the same name."""

    name: str
    default: int | float
    allowed: Annotated[list[int] | None, Field(description="Allowed values; null if `range` limits them.")]
    range: Annotated[tuple[float, float] | None, Field(description="Lowest and highest value, or null.")]


class VersionInfo(BaseModel):
    """One version of a model on one backend."""

    backend: str
    version: str
    target: str
    precision: str
    sha256: str
    state: Annotated[
        Literal["ready", "refused", "unavailable", "quarantined"],
        Field(
            description="refused: the check failed. unavailable: the backend has not loaded the version."
            " quarantined: audits of its answers disagree."
        ),
    ]
    why: Annotated[str, Field(description="Why the version is not ready; empty if it is ready.")] = ""


class ModelInfo(BaseModel):
    """One served model, described by the version that answers now."""

    name: str
    version: str
    variant: str
    target: str
    sha256: str
    precision: str
    execution: Literal["sparse", "dense"]
    routing: Literal["normal", "static", "path"]
    backends: Annotated[list[str], Field(description="Backends that serve a version, preferred first.")]
    versions: Annotated[list[VersionInfo], Field(description="Every version on every backend.")]
    input: InputSize
    classes: list[str]
    task: TaskName
    drawn_as: Annotated[
        Literal["boxes", "labels"],
        Field(description="How a page shows predictions: boxes on the image, or labels beside it."),
    ]
    keypoints: Annotated[list[str] | None, Field(description="Names of the keypoints; null: no pose model.")]
    skeleton: Annotated[
        list[tuple[int, int]] | None,
        Field(description="Pairs of keypoints to join with a line, by position in `keypoints`, or null."),
    ]
    defaults: Annotated[dict[str, int | float], Field(description="Default of each parameter and control.")]
    controls: list[ControlInfo]
    top_k: TopKChoice | None
    mixture: list[LayerInfo]
    experts_report: Annotated[bool, Field(description="Whether there is a report on what the experts serve.")]
    gflops: Annotated[
        dict[str, float],
        Field(description="Compute in 1e9 operations: fixed outside the experts, dense with all experts."),
    ]
    metrics: dict[str, float]
    data: str
    attribution: str


class BrokenInfo(BaseModel):
    """A model of the repository whose newest version cannot be served."""

    name: str
    backend: str
    why: str


class ModelList(BaseModel):
    """Every served model."""

    default: str
    models: list[ModelInfo]
    broken: Annotated[
        list[BrokenInfo],
        Field(description="Models of the repository that cannot be served, or not in their newest version."),
    ] = []


class ReloadReport(BaseModel):
    """The changes after the repository was read again; each text names a model, its version and backend."""

    loaded: Annotated[list[str], Field(description="Versions that requests get from now on.")]
    removed: Annotated[list[str], Field(description="Versions that are no longer served.")]


class Health(BaseModel):
    """The health of the process; the status is always ok."""

    status: str


class Readiness(BaseModel):
    """The readiness of the service to answer requests; the status is always ready."""

    status: str
    notes: Annotated[list[str], Field(description="Warnings for the operator.")] = []
