"""Read the manifest of a model from its configuration in Triton, for a client that calls Triton directly."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .errors import ManifestMismatch
from .facts import Facts
from .version_1 import upgrade

_TEXT, _SUM = "manifest.", "sha256."
_BATCH = "B"
_DTYPES = ("u8", "i32", "i64", "f16", "f32", "bool")

Dim = int | Literal["B"]


@dataclass(frozen=True)
class Tensor:
    """An input or output of the graph; the client finds it by its role, and sends its name to Triton."""

    name: str
    dtype: str  # u8, i32, i64, f16, f32, bool
    dims: tuple[Dim, ...]  # the first is "B", the batch
    role: str

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the tensor's shape for `batch` images."""
        return tuple(dim if isinstance(dim, int) else batch for dim in self.dims)


@dataclass(frozen=True)
class Control:
    """A graph input with one number per image, such as top_k; the call parameter of the same name sets it."""

    tensor: Tensor
    default: float
    allowed: tuple[int, ...] | None  # allowed whole numbers; None allows any number from low to high
    low: float
    high: float


@dataclass(frozen=True)
class Resize:
    """Settings for resizing an image to the model input."""

    mode: str  # letterbox, center_crop
    pad_value: int  # value of the letterbox's border pixels; 0 for center_crop, which has no border


@dataclass(frozen=True)
class MixtureLayer:
    """One mixture layer of a model, and the layer's row in the outputs gates and router_probs.

    Both outputs have the shape (1, L, Emax): L is the number of layers, and Emax is the number of experts in
    the layer that has the most experts.
    """

    layer: str
    row: int
    num_experts: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of one model version: its inputs, outputs, classes, layers and settings."""

    name: str
    target: str
    version: str
    sha256: str
    precision: str
    routing: str  # normal; static: the routers choose the same experts for every image; path: it has paths
    images: Tensor  # (B, H, W, 3)
    resize: Resize
    controls: Mapping[str, Control]  # by name of the control
    outputs: tuple[Tensor, ...]
    task: str
    task_settings: Mapping[str, Any]  # the task's module in clients.tasks reads these
    class_names: tuple[str, ...]
    mixture: tuple[MixtureLayer, ...]

    @property
    def input_hw(self) -> tuple[int, int]:
        """Return height and width of the model input, in pixels."""
        _, height, width, _ = self.images.shape(1)
        return height, width

    def output(self, role: str) -> Tensor:
        """Return the output that has the given role.

        Raises:
            ValueError: no output has this role.
        """
        for tensor in self.outputs:
            if tensor.role == role:
                return tensor
        raise ValueError(f"no output has the role {role}")


def newest_manifest(parameters: Mapping[str, str], model: str) -> Manifest:
    """Return the manifest of the highest version in the parameters of a model configuration.

    Args:
        parameters: for each version, `manifest.<version>` holds the JSON document, and `sha256.<version>`
            holds the sha256 of the document.
        model: name of the model, to use in the error.

    Raises:
        ManifestMismatch: there is no manifest, it does not have the stated sha256, or an entry is missing or
            invalid.
    """
    versions = [name.removeprefix(_TEXT) for name in parameters if name.startswith(_TEXT)]
    numbers = [version for version in versions if version.isascii() and version.isdigit()]
    if not numbers:
        raise ManifestMismatch(model, "its configuration has no manifest")
    version = max(numbers, key=int)
    text = parameters[_TEXT + version].encode()
    sha256 = hashlib.sha256(text).hexdigest()
    if parameters.get(_SUM + version) != sha256:
        raise ManifestMismatch(model, f"the manifest of version {version} differs from its recorded sha256")
    try:
        manifest = _read(Facts(upgrade(json.loads(text))), sha256)
    except (ValueError, RecursionError) as error:
        raise ManifestMismatch(model, f"the manifest of version {version} cannot be used: {error}") from error
    if manifest.version != version:
        raise ManifestMismatch(model, f"version {version} has the manifest of version {manifest.version}")
    return manifest


def _read(facts: Facts, sha256: str) -> Manifest:
    # A model with paths has a graph for each path; in Triton, one model asks all of them.
    routing, graphs = facts.one_of("routing", "normal", "static", "path"), facts.parts("graphs")
    if routing != "path" and len(graphs) != 1:
        raise ValueError(f"the model has {len(graphs)} graphs; this client supports models with one graph")
    images, resize, controls = _inputs(facts)
    return Manifest(
        name=facts.text("name"),
        target=facts.text("target"),
        version=facts.text("version"),
        sha256=sha256,
        precision=facts.text("precision"),
        routing=routing,
        images=images,
        resize=resize,
        controls=controls,
        outputs=_outputs(facts),
        task=facts.text("task"),
        task_settings=facts.part("task_settings").raw(),
        class_names=tuple(facts.list_of("class_names", str)),
        mixture=_mixture(facts),
    )


def _inputs(facts: Facts) -> tuple[Tensor, Resize, dict[str, Control]]:
    images: list[tuple[Tensor, Resize]] = []
    controls: dict[str, Control] = {}
    for row in facts.parts("inputs"):
        if row.one_of("role", "images", "control") == "images":
            images.append((_images(row), _resize(row.part("resize"))))
        else:
            control = _control(row)
            if control.tensor.name in controls:
                raise ValueError(f"two inputs have the name {control.tensor.name}")
            controls[control.tensor.name] = control
    if len(images) != 1:
        raise ValueError(f"{len(images)} inputs have the role images; exactly one is needed")
    return *images[0], controls


def _images(row: Facts) -> Tensor:
    tensor = _tensor(row)
    if tensor.dtype != "u8" or len(tensor.dims) != 4 or tensor.dims[3] != 3:
        raise ValueError(f"input {tensor.name} is {tensor.dtype} {list(tensor.dims)}, not u8 [B, H, W, 3]")
    return tensor


def _resize(facts: Facts) -> Resize:
    mode = facts.one_of("mode", "letterbox", "center_crop")
    facts.one_of("interpolation", "bilinear")
    return Resize(mode, facts.whole("pad_value", 0, 255) if mode == "letterbox" else 0)


def _control(row: Facts) -> Control:
    tensor = _tensor(row)
    if tensor.dims != (_BATCH, 1):
        raise ValueError(f"input {tensor.name} has the dims {list(tensor.dims)}, not [B, 1]")
    default = row.number("default")
    if row.has("allowed"):
        allowed = tuple(row.list_of("allowed", int))
        control = Control(tensor, default, allowed, min(allowed), max(allowed))
        fits = default in allowed
    else:
        bounds = row.list_of("range", int, float)
        if len(bounds) != 2:
            raise ValueError(f"input {tensor.name} has the range {bounds}, not [low, high]")
        control = Control(tensor, default, None, *bounds)
        fits = control.low <= default <= control.high  # written so that NaN fails too
    if not fits:
        raise ValueError(f"input {tensor.name} has the default {default:g}, which it does not allow")
    return control


def _outputs(facts: Facts) -> tuple[Tensor, ...]:
    tensors = tuple(_tensor(row) for row in facts.parts("outputs"))
    for what in ("role", "name"):
        names = [getattr(tensor, what) for tensor in tensors]
        if len(set(names)) != len(names):
            raise ValueError(f"two outputs have the same {what}: {', '.join(names)}")
    return tensors


def _tensor(row: Facts) -> Tensor:
    name = row.text("name")
    batch, *sizes = row.list_of("dims", int, str)
    if batch != _BATCH or any(type(size) is not int or size < 1 for size in sizes):
        raise ValueError(
            f"{name} has the dims {[batch, *sizes]}; dims must be B and then whole numbers of 1 or more"
        )
    return Tensor(name, row.one_of("dtype", *_DTYPES), ("B", *sizes), row.text("role"))


def _mixture(facts: Facts) -> tuple[MixtureLayer, ...]:
    layers = tuple(
        MixtureLayer(row.text("layer"), row.whole("row"), row.whole("num_experts", 1))
        for row in facts.parts("mixture")
    )
    if sorted(layer.row for layer in layers) != list(range(len(layers))):
        raise ValueError(f"the rows of mixture must be 0..{len(layers) - 1}, each one once")
    return layers
