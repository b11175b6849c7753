"""What is sent and received: the models behind openapi.json."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.artifact.task_settings import TaskName
from service.tasks.choose import AnyPrediction


class ModelRef(BaseModel):
    """Which model answered."""

    name: str
    version: str
    sha256: Annotated[str, Field(description="Of the model's manifest, which holds that of every file.")]
    backend: str
    backend_reason: Annotated[
        str,
        Field(description="preferred, requested, or the sentence that says why a better one did not answer."),
    ]
    precision: str


class ImageSize(BaseModel):
    """Size of the upright image, in pixels."""

    width: int
    height: int


class LayerActivation(BaseModel):
    """What one mixture layer decided."""

    layer: str
    experts: Annotated[int, Field(description="How many there are.")]
    active: Annotated[list[int], Field(description="Ids of those that were chosen, ascending.")]
    weights: Annotated[list[float], Field(description="Of the chosen, in the same order; they sum to 1.")]
    entropy_bits: Annotated[float, Field(description="Of the router's probabilities; 0 is certain.")]
    probabilities: Annotated[list[float], Field(description="Of every expert; with moe=full only.")] = []


class GflopsUse(BaseModel):
    """Compute for this image, in units of 1e9 operations."""

    used: float
    dense: Annotated[float, Field(description="With every expert computed.")]


class Moe(BaseModel):
    """What the mixture of experts did."""

    layers: list[LayerActivation]
    top_k: Annotated[int | None, Field(description="In force; null if the model has none to choose.")]
    gflops: GflopsUse
    degraded: Annotated[bool, Field(description="True if load made the service use fewer experts.")]
    routing: Annotated[
        Literal["normal", "static"], Field(description="static: routers that do not depend on the image.")
    ]


class TimingMs(BaseModel):
    """Milliseconds in each stage; total is from the last byte received to the answer."""

    decode: float
    queue: float
    preprocess: float
    infer: float
    postprocess: float
    total: float


class Answer(BaseModel):
    """What was found in one image: objects or classes, as the model's task is."""

    id: str
    model: ModelRef
    image: ImageSize
    predictions: Annotated[list[AnyPrediction], Field(description="Highest confidence first.")]
    moe: Annotated[Moe | None, Field(description="Left out with moe=off.")] = None
    timing_ms: TimingMs
    warnings: list[str]


class ParameterFault(BaseModel):
    """One parameter that cannot be used."""

    parameter: str
    detail: str


class Problem(BaseModel):
    """RFC 9457: what went wrong, and what to do."""

    type: Annotated[str, Field(description="Stable; its last part is the reason in the metrics.")]
    title: str
    status: int
    detail: str
    id: Annotated[str, Field(description="Id of the request.")]
    errors: Annotated[list[ParameterFault], Field(description="Only where parameters are wrong.")] = []


class Results(BaseModel):
    """Answers to a form with several files, in the order sent, each an answer or a problem."""

    results: list[Answer | Problem]


class TopKChoice(BaseModel):
    """Experts per image and layer that a model accepts."""

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
    """Canvas of a model, in pixels."""

    width: int
    height: int


class ControlInfo(BaseModel):
    """An input of the graph that a request may choose by its name."""

    name: str
    default: int | float
    allowed: Annotated[list[int] | None, Field(description="The values; null if there is a range.")]
    range: Annotated[tuple[float, float] | None, Field(description="Lowest and highest.")]


class VersionInfo(BaseModel):
    """One version of a model on one backend."""

    backend: str
    version: str
    target: str
    precision: str
    sha256: str
    state: Annotated[
        Literal["ready", "refused", "unavailable"],
        Field(description="refused: it did not prove itself. unavailable: the backend has not loaded it."),
    ]
    why: Annotated[str, Field(description="It is not ready; empty if it is.")] = ""


class ModelInfo(BaseModel):
    """One served model, as the backend that answers now has it."""

    name: str
    version: str
    variant: str
    target: str
    sha256: str
    precision: str
    execution: Literal["sparse", "dense"]
    routing: Literal["normal", "static"]
    backends: Annotated[list[str], Field(description="That serve a version of it, preferred first.")]
    versions: Annotated[list[VersionInfo], Field(description="Every version that a backend has.")]
    input: InputSize
    classes: list[str]
    task: TaskName
    drawn_as: Annotated[
        Literal["boxes", "labels"], Field(description="What the predictions are: on the image, or of it.")
    ]
    defaults: Annotated[
        dict[str, int | float], Field(description="Parameters and controls of a request that does not say.")
    ]
    controls: list[ControlInfo]
    top_k: TopKChoice | None
    mixture: list[LayerInfo]
    gflops: Annotated[dict[str, float], Field(description="fixed and dense, in 1e9 operations.")]
    metrics: dict[str, float]
    data: str
    attribution: str


class ModelList(BaseModel):
    """Every served model."""

    default: str
    models: list[ModelInfo]


class Health(BaseModel):
    """Whether the process is well."""

    status: str


class Readiness(BaseModel):
    """Whether requests are welcome."""

    status: str
    notes: Annotated[list[str], Field(description="What an operator should know although it serves.")] = []
