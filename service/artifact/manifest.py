"""The manifest of an exported model: a strict mirror of model_repository/manifest.schema.json."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ArtifactBroken

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=32, multiple_of=32)]


class Part(BaseModel):
    """A JSON object with no unknown keys and no coerced values: guessing is how wrong boxes are served."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Resize(Part):
    """How a picture becomes the model's canvas."""

    mode: Literal["letterbox"]
    pad_value: Annotated[int, Field(ge=0, le=255)]
    interpolation: Literal["bilinear"]


class InputSpec(Part):
    """The image input: uint8 (B, H, W, 3) RGB."""

    name: Literal["images"]
    height: Side
    width: Side
    batch: Annotated[tuple[Positive, ...], Field(min_length=1)]
    resize: Resize


class TopKSpec(Part):
    """Experts chosen per image and layer: what the graph accepts, and what it does unless told."""

    allowed: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    default: int


class ThresholdSpec(Part):
    """Softmax probability that an expert beyond the best must reach to run."""

    default: Share


class Controls(Part):
    """Run-time inputs of the graph beside the images; None where it has none."""

    top_k: TopKSpec | None
    weight_threshold: ThresholdSpec | None


class OutputSpec(Part):
    """Who selects the N best (anchor, class) pairs, and N."""

    selection: Literal["graph", "service"]
    candidates: Positive


class Defaults(Part):
    """What a request gets that does not say."""

    conf: Share
    iou: Share
    max_det: Positive


class SharedInformation(Part):
    """Normalised mutual information of chosen set and group; None where the data has no such groups."""

    origin: Share | None
    density: Share | None


class MixtureSpec(Part):
    """One mixture layer; older exporters measured less of its routing."""

    layer: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$")]
    row: Annotated[int, Field(ge=0)]  # in gates and router_probs, (B, L, Emax)
    num_experts: Positive
    expert_gflops: tuple[NotNegative, ...]
    information_bits: NotNegative | None
    expert_share: tuple[Share, ...] | None
    distinct_sets: Positive | None = None
    commonest_set_share: Share | None = None
    nmi: SharedInformation | None = None

    @model_validator(mode="after")
    def _one_number_per_expert(self) -> Self:
        for name in ("expert_gflops", "expert_share"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_experts:
                raise ValueError(
                    f"{self.layer}: {name} has {len(values)} entries for {self.num_experts} experts"
                )
        return self


class Baseline(Part):
    """What the routing of the mixture layers was measured on."""

    data: str
    images: Positive


class Gflops(Part):
    """Compute for one image, in units of 1e9 operations."""

    fixed: NotNegative
    dense: NotNegative


class Tolerance(Part):
    """How far a replay may be from the golden sample."""

    input_levels: Annotated[int, Field(ge=0)]
    boxes_px: NotNegative
    boxes_relative: NotNegative
    scores: NotNegative
    gates: NotNegative


class GoldenSpec(Part):
    """How golden.npz was made, and how closely it must be met."""

    top_k: int | None
    weight_threshold: float | None
    conf: Share
    router_margin: float | None
    tolerance: Tolerance


class MapPair(Part):
    """mAP@[.5:.95] on the data that was given to the export."""

    checkpoint: Share
    graph: Share


class Parity(Part):
    """Largest difference to the checkpoint, as measured before release; older exporters measured less."""

    images: Positive
    distinct_expert_sets: Annotated[int, Field(ge=0)]
    boxes_px: NotNegative
    scores: NotNegative
    gates: NotNegative
    compared_boxes: Positive | None = None
    skippable_experts: Annotated[int, Field(ge=0)] | None = None
    expert_sets: Share | None = None
    map50_95: MapPair | None = None


class Speed(Part):
    """What made the exporter choose between sparse and dense execution."""

    sparse_to_dense: Annotated[float, Field(gt=0)]
    sparse_ms: NotNegative
    dense_ms: NotNegative
    machine: str


class Provenance(Part):
    """Where the weights come from."""

    checkpoint_sha256: Sha256
    data: str
    metrics: dict[str, float]
    attribution: str


class Manifest(Part):
    """Everything a server must know about one exported model."""

    schema_version: Annotated[int, Field(ge=1, le=1)]  # not Literal: that would take true for 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    target: Literal["openvino", "onnx", "tensorrt"]
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]*$")]
    variant: str
    task: Literal["detect"]
    created: str
    files: Annotated[dict[str, Sha256], Field(min_length=2)]
    precision: Literal["f32", "bf16", "f16", "int8"]
    execution: Literal["sparse", "dense"]
    routing: Literal["normal", "static"]
    input: InputSpec
    controls: Controls
    outputs: OutputSpec
    class_names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    defaults: Defaults
    mixture: tuple[MixtureSpec, ...]
    baseline: Baseline | None = None
    gflops: Gflops
    golden: GoldenSpec
    parity: Parity
    speed: Speed | None = None
    provenance: Provenance

    @property
    def graph_file(self) -> str:
        """Name of the file that holds the graph: the one ending in .xml or .onnx."""
        return next(name for name in self.files if name.endswith((".xml", ".onnx")))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs that the graph must have."""
        found = ("scores", "class_ids") if self.outputs.selection == "graph" else ("class_scores",)
        return ("boxes", *found, *(("gates", "router_probs") if self.mixture else ()))

    @model_validator(mode="after")
    def _files_are_a_model(self) -> Self:
        ending = ".xml" if self.target == "openvino" else ".onnx"
        graphs = [name for name in self.files if name.endswith((".xml", ".onnx"))]
        if len(graphs) != 1 or not graphs[0].endswith(ending):
            raise ValueError(f"files: exactly one {ending} graph is needed for {self.target}, found {graphs}")
        if "golden.npz" not in self.files:
            raise ValueError("files: golden.npz is missing")
        for name in self.files:
            if "/" in name or "\\" in name or name in {"..", "."}:
                raise ValueError(f"files: {name!r} is not a plain file name")
        return self

    @model_validator(mode="after")
    def _names_and_rows_are_distinct(self) -> Self:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names: a name appears twice")
        if sorted(layer.row for layer in self.mixture) != list(range(len(self.mixture))):
            raise ValueError(f"mixture: rows must be 0..{len(self.mixture) - 1}, each once")
        if len({layer.layer for layer in self.mixture}) != len(self.mixture):
            raise ValueError("mixture: a layer appears twice")
        return self

    @model_validator(mode="after")
    def _controls_agree(self) -> Self:
        top_k, golden = self.controls.top_k, self.golden
        if top_k is not None and top_k.default not in top_k.allowed:
            raise ValueError(f"controls.top_k: default {top_k.default} is not one of {top_k.allowed}")
        if golden.top_k is not None and (top_k is None or golden.top_k not in top_k.allowed):
            raise ValueError(f"golden.top_k: {golden.top_k} is not allowed by controls.top_k")
        if golden.weight_threshold is not None and self.controls.weight_threshold is None:
            raise ValueError("golden.weight_threshold is given, and the graph has no such input")
        return self


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Read a manifest strictly.

    Args:
        text: the JSON document.
        where: path to name in the error.

    Raises:
        ArtifactBroken: names the first field that is wrong.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactBroken(f"{where}: {field}: {first['msg']}") from error
