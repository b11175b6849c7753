"""Parse the manifest of an exported model, schema_version 2, as strictly as manifest.schema.json does."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from service.artifact.evidence import DefaultControls, Parity, Provenance, Sha256, Speed
from service.artifact.paths import Paths
from service.artifact.task_settings import SETTINGS_OF, Share, Sizes, TaskName, TaskSettings
from service.artifact.tensors import (
    ControlInput,
    ImagesInput,
    InputRow,
    NotNegative,
    OutputRow,
    Part,
    Positive,
)
from service.artifact.version_1 import upgrade
from service.errors import ArtifactBroken
from service.request import Number
from service.types import RawOutputs

# A anchors · C classes · N candidates · L mixture layers · E experts of the widest layer

_GRAPH_ENDINGS = {
    "openvino": (".xml",),
    "onnx": (".onnx",),
    "npu": (".onnx",),
    "tensorrt": (".onnx", ".plan"),
}


class GraphFile(Part):
    """The name of one graph, and the files that contain the graph."""

    name: Annotated[str, Field(min_length=1)]
    file: Annotated[str, Field(min_length=1)]
    # That several graphs share; None: an .xml has the .bin of its name, and other files hold their weights.
    weights: Annotated[str, Field(pattern=r"\.bin$")] | None = None


class SharedInformation(Part):
    """Normalised mutual information between the chosen experts and two groupings of the images.

    `origin` groups the images by their source, `density` by their number of boxes. A value is None if the
    exporter's data cannot be grouped in this way.
    """

    origin: Share | None
    density: Share | None


class MixtureSpec(Part):
    """A mixture layer: its experts, and how its router chose among them when the model was exported.

    Older exporters measured fewer values; the missing ones are None.
    """

    layer: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$")]
    row: Annotated[int, Field(ge=0)]  # the layer's row in the outputs gates and router_probs, (B, L, Emax)
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


class RoutingFile(Part):
    """The file with the routing of single images, at several settings of the controls."""

    file: Annotated[str, Field(min_length=1)]
    data: str
    images: Positive
    settings: Annotated[tuple[dict[str, Number], ...], Field(min_length=1)]  # the default first


class Baseline(Part):
    """The data on which the exporter measured the routing of the mixture layers."""

    data: str
    images: Positive
    routing: RoutingFile | None = None


class Gflops(Part):
    """The operations for one image, in units of 1e9: `fixed` counts no expert, `dense` counts all experts."""

    fixed: NotNegative
    dense: NotNegative


class GoldenSpec(Part):
    """The parameters with which golden.npz was recorded, and the tolerance for its resized image."""

    controls: dict[str, Number]
    params: dict[str, Number]
    router_margin: float | None
    input_levels: Annotated[int, Field(ge=0)]


class Manifest(Part):
    """The manifest of one version of an exported model: everything that a server must know about it."""

    schema_version: Annotated[int, Field(ge=2, le=2)]  # not Literal, because Literal[1] accepts true
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    target: Literal["openvino", "onnx", "npu", "tensorrt"]
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]*$")]
    variant: str
    created: str
    files: Annotated[dict[str, Sha256], Field(min_length=2)]
    graphs: Annotated[tuple[GraphFile, ...], Field(min_length=1)]
    precision: Literal["f32", "bf16", "f16", "int8"]
    execution: Literal["sparse", "dense"]
    routing: Literal["normal", "static", "path"]
    batch: Annotated[tuple[Positive, ...], Field(min_length=1)]
    inputs: Annotated[tuple[InputRow, ...], Field(min_length=1)]
    outputs: Annotated[tuple[OutputRow, ...], Field(min_length=1)]
    task: TaskName
    task_settings: TaskSettings
    class_names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    mixture: tuple[MixtureSpec, ...]
    paths: Paths | None = None  # of a model that chooses a path for each image, and has a graph for each path
    baseline: Baseline | None = None
    experts_report: Annotated[str, Field(min_length=1)] | None = None  # one of `files`; see experts_report.py
    gflops: Gflops
    golden: GoldenSpec
    proved: bool = True  # False: exported although nothing proves that the artifact works
    parity: Parity
    speed: Speed | None = None
    default_controls: DefaultControls | None = None
    provenance: Provenance

    @field_validator("task_settings", mode="wrap")
    @classmethod
    def _settings_of_the_task(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> TaskSettings:
        # The task chooses the class, because two tasks may have the same keys.
        if "task" not in info.data or isinstance(value, Part):
            settings: TaskSettings = handler(value)
            return settings
        try:
            return SETTINGS_OF[info.data["task"]].model_validate_json(json.dumps(value))
        except ValidationError as error:
            try:
                other: TaskSettings = handler(value)
            except ValidationError:
                raise error from None
            return other  # of another task, which a check below tells

    @property
    def images(self) -> ImagesInput:
        """Return the manifest's row for the image input."""
        return next(row for row in self.inputs if isinstance(row, ImagesInput))

    @property
    def controls(self) -> tuple[ControlInput, ...]:
        """Return the manifest's rows for the controls: the inputs that a request may set."""
        return tuple(row for row in self.inputs if isinstance(row, ControlInput))

    def only_graph(self) -> GraphFile:
        """Return the model's only graph.

        Raises:
            ArtifactBroken: the model has several graphs.
        """
        if len(self.graphs) > 1:
            names = ", ".join(graph.name for graph in self.graphs)
            raise ArtifactBroken(
                f"{self.name}-{self.target} version {self.version} has {len(self.graphs)} graphs ({names});"
                f" {_why_one_graph(self)}"
            )
        return self.graphs[0]

    @property
    def skips_experts(self) -> bool:
        """Return whether only the chosen experts are computed."""
        return self.execution == "sparse" or self.paths is not None

    def output(self, role: str) -> OutputRow:
        """Return the manifest's row for the output with a role; raise KeyError if there is none."""
        for row in self.outputs:
            if row.role == role:
                return row
        raise KeyError(role)

    def read(self, outputs: RawOutputs, role: str) -> NDArray[Any]:
        """Return the output array that has the role `role`."""
        return outputs[self.output(role).name]

    def feed(self, images: NDArray[np.uint8], controls: Mapping[str, Number]) -> dict[str, NDArray[Any]]:
        """Return the graph's input arrays, by name.

        Args:
            images: (B, H, W, 3) images that have been resized to the model input.
            controls: one number for each control, used for every image; a missing control gets its default.
        """
        fed: dict[str, NDArray[Any]] = {self.images.name: images}
        for row in self.controls:
            value = controls.get(row.name, row.default)
            fed[row.name] = np.full(row.shape(len(images)), value, dtype=row.numpy_dtype)
        return fed

    @model_validator(mode="after")
    def _files_are_a_model(self) -> Self:
        endings = _GRAPH_ENDINGS[self.target]
        for graph in self.graphs:
            if not graph.file.endswith(endings):
                wanted = " or ".join(endings)
                raise ValueError(f"graphs: a graph for {self.target} ends in {wanted}, not {graph.file!r}")
            if graph.weights is not None and self.target != "openvino":
                raise ValueError(f"graphs: a graph for {self.target} has no file of weights")
        routing = self.baseline.routing if self.baseline else None
        measured = () if routing is None else (routing.file,)
        report = () if self.experts_report is None else (self.experts_report,)
        graphs = [name for graph in self.graphs for name in (graph.file, graph.weights) if name is not None]
        for name in (*graphs, "golden.npz", *measured, *report):
            if name not in self.files:
                raise ValueError(f"files: {name} is missing")
        for name in self.files:
            if "/" in name or "\\" in name or name in {"..", "."}:
                raise ValueError(f"files: {name!r} is not a plain file name")
        return self

    @model_validator(mode="after")
    def _names_and_rows_are_distinct(self) -> Self:
        _refuse_twice("class_names: a name", self.class_names)
        _refuse_twice("graphs: a name", [graph.name for graph in self.graphs])
        _refuse_twice("inputs: a name", [row.name for row in self.inputs])
        _refuse_twice("outputs: a name", [row.name for row in self.outputs])
        _refuse_twice("outputs: a role", [row.role for row in self.outputs])
        _refuse_twice("mixture: a layer", [layer.layer for layer in self.mixture])
        if sorted(layer.row for layer in self.mixture) != list(range(len(self.mixture))):
            raise ValueError(f"mixture: rows must be 0..{len(self.mixture) - 1}, each once")
        if sum(isinstance(row, ImagesInput) for row in self.inputs) != 1:
            raise ValueError("inputs: exactly one row must have the role images")
        return self

    @model_validator(mode="after")
    def _outputs_are_those_of_the_task(self) -> Self:
        if type(self.task_settings) is not SETTINGS_OF[self.task]:
            raise ValueError(f"task_settings: these are not the settings of task {self.task}")
        if self.images.resize.mode != self.task_settings.resize_mode:
            mode = self.task_settings.resize_mode
            raise ValueError(f"inputs: task {self.task} needs resize mode {mode}")
        needed = [*self.task_settings.needed_roles(), *(("gates", "router_probs") if self.mixture else ())]
        needed += ["path_probs"] if self.paths is not None else []
        roles = {row.role for row in self.outputs}
        for role in needed:
            if role not in roles:
                raise ValueError(f"outputs: no row has the role {role}, which task {self.task} needs")
        for role, sizes in _sizes(self).items():
            row = self.output(role)
            if row.sizes != sizes:
                raise ValueError(
                    f"outputs: {row.name} must be [B, {_text(sizes)}], not [B, {_text(row.sizes)}]"
                )
        return self

    @model_validator(mode="after")
    def _paths_fit(self) -> Self:
        if (self.routing == "path") != (self.paths is not None):
            raise ValueError("paths: a model has them exactly if its routing is path")
        if self.paths is None:
            return self
        if self.execution != "dense" or not self.mixture:
            raise ValueError("paths: a model with paths has execution dense, and mixture layers")
        by_row = [layer.num_experts for layer in sorted(self.mixture, key=lambda layer: layer.row)]
        for route in self.paths.routes:
            route.check_layers(by_row)
        self.paths.check_graphs([graph.name for graph in self.graphs])
        self.paths.check_controls(self.controls)
        return self

    @model_validator(mode="after")
    def _golden_can_be_asked_for(self) -> Self:
        controls = {row.name: row for row in self.controls}
        for name, value in self.golden.controls.items():
            if name not in controls:
                raise ValueError(f"golden.controls: the graph has no input {name}")
            if not controls[name].accepts(value):
                raise ValueError(f"golden.controls: {name}={value} is not allowed by the input")
        for name in self.golden.params.keys() - self.task_settings.defaults.model_dump().keys():
            raise ValueError(f"golden.params: task {self.task} has no parameter {name}")
        return self


def _sizes(manifest: Manifest) -> dict[str, Sizes]:
    """Return the sizes that outputs must have, by role, derived from the other entries of the manifest."""
    given = {row.role: row.sizes for row in manifest.outputs}
    sizes = manifest.task_settings.sizes(given, len(manifest.class_names))
    if manifest.mixture:
        experts = max(layer.num_experts for layer in manifest.mixture)
        sizes |= dict.fromkeys(("gates", "router_probs"), (len(manifest.mixture), experts))
    if manifest.paths is not None:
        sizes["path_probs"] = (manifest.paths.count,)
    return sizes


def _why_one_graph(manifest: Manifest) -> str:
    if manifest.paths is not None:
        return "a model with paths has one for each path"
    return "this service runs models with one graph: export the model as a single graph"


def _text(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))


def _refuse_twice(what: str, names: tuple[str, ...] | list[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"{what} appears twice")


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Parse a manifest strictly and return it; a manifest of schema_version 1 is converted first.

    Args:
        text: the JSON document.
        where: path of the document, to name in the error.

    Raises:
        ArtifactBroken: the manifest is invalid; the message names the first invalid field.
    """
    try:
        document = upgrade(json.loads(text))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactBroken(f"{where}: Invalid JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactBroken(f"{where}: Value error, {error}") from error
    try:
        return Manifest.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactBroken(f"{where}: {field}: {first['msg']}") from error
