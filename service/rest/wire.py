"""What is sent and received: the models behind openapi.json."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Part = Annotated[float, Field(ge=0, le=1)]


class DetectQuery(BaseModel):
    """Query parameters of a detection. A description doubles as the answer to a wrong value."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Annotated[str | None, Field(description="Name of a model that GET /models lists.")] = None
    conf: Annotated[
        float | None, Field(ge=0, le=1, description="Lowest confidence to report: a number from 0 to 1.")
    ] = None
    iou: Annotated[
        float | None,
        Field(ge=0, le=1, description="Overlap above which boxes of a class are one: a number from 0 to 1."),
    ] = None
    max_det: Annotated[
        int | None, Field(ge=1, le=10_000, description="Most detections: a whole number from 1 to 10000.")
    ] = None
    classes: Annotated[
        str | None, Field(description="Names or ids of the classes to report, separated by commas.")
    ] = None
    backend: Annotated[
        Literal["auto", "openvino", "onnx", "triton"],
        Field(description="What runs the model: one of auto, openvino, onnx, triton."),
    ] = "auto"
    version: Annotated[
        str | None,
        Field(max_length=20, description="Version that GET /models lists as ready; if unset, the highest."),
    ] = None
    timeout_ms: Annotated[
        int | None,
        Field(
            ge=1,
            le=600_000,
            description="Time from the last byte sent to the answer: a whole number from 1 to 600000.",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        Field(ge=0, description="Experts per image and layer: a whole number that GET /models allows."),
    ] = None
    weight_threshold: Annotated[
        float | None,
        Field(ge=0, le=1, description="Probability an expert beyond the best needs: a number from 0 to 1."),
    ] = None
    moe: Annotated[
        Literal["summary", "full", "off"],
        Field(description="How much to tell about the experts: one of summary, full, off."),
    ] = "summary"


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


class Prediction(BaseModel):
    """One object; x and y are the centre of its box, all in pixels of the upright image."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    x: float
    y: float
    width: float
    height: float
    class_name: Annotated[str, Field(alias="class")]
    class_id: int
    confidence: Part


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
    """Detections in one image."""

    id: str
    model: ModelRef
    image: ImageSize
    predictions: Annotated[list[Prediction], Field(description="Highest confidence first.")]
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


class DefaultValues(BaseModel):
    """What a request gets that does not say."""

    conf: float
    iou: float
    max_det: int
    top_k: int | None
    weight_threshold: float | None


class Offer(BaseModel):
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
    offers: Annotated[list[Offer], Field(description="Every version that a backend has.")]
    input: InputSize
    classes: list[str]
    defaults: DefaultValues
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
