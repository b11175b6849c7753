"""What a direct client must know of a model, as Triton's model configuration tells it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients.errors import ManifestMismatch

_SCHEMA_VERSION = 1
_TEXT, _SUM = "manifest.", "sha256."


@dataclass(frozen=True)
class MixtureLayer:
    """One mixture layer, and its row in gates and router_probs, (1, L, Emax)."""

    layer: str
    row: int
    num_experts: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The facts of one version of a model, proved by the sha256 beside them."""

    name: str
    target: str
    version: str
    sha256: str
    precision: str
    routing: str  # normal, or static: routers that do not depend on the image
    input_hw: tuple[int, int]
    pad_value: int
    candidates: int  # most boxes that the model can find in one image
    class_names: tuple[str, ...]
    conf: float
    iou: float
    max_det: int
    top_k: int | None  # the default; None if the graph has no such input
    allowed_top_k: tuple[int, ...]
    weight_threshold: float | None  # the default; None if the graph has no such input
    mixture: tuple[MixtureLayer, ...]


def newest_manifest(parameters: Mapping[str, str], model: str) -> Manifest:
    """Read the manifest of the highest version in the parameters of a model configuration.

    Args:
        parameters: for each version on disk `manifest.<version>`, the document, and `sha256.<version>`, its
            sum.
        model: name to use in the error.

    Raises:
        ManifestMismatch: there is none, it was altered, or it lacks or garbles a fact that is needed.
    """
    versions = [name.removeprefix(_TEXT) for name in parameters if name.startswith(_TEXT)]
    numbers = [version for version in versions if version.isascii() and version.isdigit()]
    if not numbers:
        raise ManifestMismatch(model, "its configuration has no manifest")
    version = max(numbers, key=int)
    text = parameters[_TEXT + version].encode()
    sha256 = hashlib.sha256(text).hexdigest()
    if parameters.get(_SUM + version) != sha256:
        raise ManifestMismatch(model, f"the manifest of version {version} does not have the sha256 beside it")
    try:
        manifest = _read(_Facts(json.loads(text)), sha256)
    except (ValueError, RecursionError) as error:
        raise ManifestMismatch(model, f"the manifest of version {version} cannot be used: {error}") from error
    if manifest.version != version:
        raise ManifestMismatch(model, f"version {version} has the manifest of version {manifest.version}")
    return manifest


class _Facts:
    """A JSON object whose members are read by type; anything missing or of another type is a ValueError."""

    def __init__(self, members: Any, where: str = "") -> None:
        self._members = members
        self._where = where
        if not isinstance(members, dict):
            raise ValueError(f"{where or 'the document'} is not an object")

    def text(self, name: str) -> str:
        return str(self._get(name, str))

    def one_of(self, name: str, *allowed: str) -> str:
        value = self.text(name)
        if value not in allowed:
            raise ValueError(f"{self._where}{name} is {value!r}, this client knows {' and '.join(allowed)}")
        return value

    def whole(self, name: str, least: int = 0, most: int | None = None) -> int:
        value = int(self._get(name, int))
        if value < least or (most is not None and value > most):
            raise ValueError(f"{self._where}{name} is {value}")
        return value

    def share(self, name: str) -> float:
        value = float(self._get(name, int, float))
        if not 0 <= value <= 1:  # written so that NaN fails too
            raise ValueError(f"{self._where}{name} is {value}")
        return value

    def part(self, name: str) -> "_Facts":
        return _Facts(self._get(name, dict), f"{self._where}{name}.")

    def optional_part(self, name: str) -> "_Facts | None":
        if name in self._members and self._members[name] is None:
            return None
        return self.part(name)

    def parts(self, name: str) -> "list[_Facts]":
        return [_Facts(item, f"{self._where}{name}[{i}].") for i, item in enumerate(self._get(name, list))]

    def list_of(self, name: str, kind: type) -> list[Any]:
        values: list[Any] = self._get(name, list)
        if not values or any(type(value) is not kind for value in values):
            raise ValueError(f"{self._where}{name} is not a list of {kind.__name__}")
        return values

    def _get(self, name: str, *kinds: type) -> Any:
        if name not in self._members:
            raise ValueError(f"{self._where}{name} is missing")
        value = self._members[name]
        if type(value) not in kinds:  # not isinstance: true is not 1
            raise ValueError(f"{self._where}{name} is {value!r}")
        return value


def _read(facts: _Facts, sha256: str) -> Manifest:
    schema_version = facts.whole("schema_version")
    if schema_version != _SCHEMA_VERSION:
        raise ValueError(f"schema_version is {schema_version}, this client knows {_SCHEMA_VERSION}")
    facts.one_of("task", "detect")
    picture = facts.part("input")
    resize = picture.part("resize")
    resize.one_of("mode", "letterbox")
    resize.one_of("interpolation", "bilinear")
    defaults = facts.part("defaults")
    controls = facts.part("controls")
    top_k, threshold = controls.optional_part("top_k"), controls.optional_part("weight_threshold")
    return Manifest(
        name=facts.text("name"),
        target=facts.text("target"),
        version=facts.text("version"),
        sha256=sha256,
        precision=facts.text("precision"),
        routing=facts.one_of("routing", "normal", "static"),
        input_hw=(picture.whole("height", 1), picture.whole("width", 1)),
        pad_value=resize.whole("pad_value", 0, 255),
        candidates=facts.part("outputs").whole("candidates", 1),
        class_names=tuple(facts.list_of("class_names", str)),
        conf=defaults.share("conf"),
        iou=defaults.share("iou"),
        max_det=defaults.whole("max_det", 1),
        top_k=None if top_k is None else top_k.whole("default"),
        allowed_top_k=() if top_k is None else tuple(top_k.list_of("allowed", int)),
        weight_threshold=None if threshold is None else threshold.share("default"),
        mixture=_mixture(facts),
    )


def _mixture(facts: _Facts) -> tuple[MixtureLayer, ...]:
    layers = tuple(
        MixtureLayer(row.text("layer"), row.whole("row"), row.whole("num_experts", 1))
        for row in facts.parts("mixture")
    )
    if sorted(layer.row for layer in layers) != list(range(len(layers))):
        raise ValueError(f"the rows of mixture are not 0..{len(layers) - 1}, each once")
    return layers
