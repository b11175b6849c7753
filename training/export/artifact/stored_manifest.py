"""A manifest as it lies in the repository, and the tensors that it promises."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from training.config import STRIDES
from training.errors import ExportError

# A anchors of all levels · C classes · N candidates · L mixture layers · E experts of the widest layer

SCHEMA_PATH = Path(__file__).resolve().parents[3] / "model_repository" / "manifest.schema.json"


def check_manifest(manifest: Mapping[str, Any], where: str) -> None:
    """Hold a manifest against the committed schema.

    Raises:
        ExportError: names the entry that does not satisfy it.
    """
    try:
        jsonschema.validate(manifest, json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    except jsonschema.ValidationError as error:
        entry = "/".join(str(part) for part in error.absolute_path)
        raise ExportError(f"{where}: manifest entry {entry!r}: {error.message}") from error


def read_manifests(folder: Path) -> list["StoredManifest"]:
    """The manifests of all versions in a folder `<name>-<target>`, oldest first.

    Raises:
        ExportError: one is not JSON, does not satisfy the schema, or is of another model.
    """
    versions = (
        int(path.parent.name) for path in folder.glob("[1-9]*/manifest.json") if path.parent.name.isdecimal()
    )
    found = []
    for version in sorted(versions):
        path = folder / str(version) / "manifest.json"
        stored = StoredManifest(version, path.read_bytes())
        try:
            content = stored.content
        except ValueError as error:
            raise ExportError(f"{path} is not JSON in UTF-8: {error}") from error
        check_manifest(content, str(path))
        if (stored.model_name, content["version"]) != (folder.name, str(version)):
            raise ExportError(f"{path} says that it is version {content['version']} of {stored.model_name}")
        found.append(stored)
    return found


@dataclass(frozen=True)
class StoredManifest:
    """A manifest.json as it lies on disk, byte for byte."""

    version: int
    text: bytes

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What it says."""
        return dict(json.loads(self.text.decode("utf-8")))

    @property
    def model_name(self) -> str:
        """What Triton calls the model, and its folder is called."""
        return f"{self.content['name']}-{self.content['target']}"

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes: what the service calls the artefact's sha256."""
        return hashlib.sha256(self.text).hexdigest()


class Tensor(NamedTuple):
    """One input or output, with the batch as its first size."""

    name: str
    data_type: str
    dims: tuple[int, ...]


def model_inputs(stored: StoredManifest) -> tuple[Tensor, ...]:
    """What the graph takes, for one image."""
    manifest = stored.content
    image, controls = manifest["input"], manifest["controls"]
    found = [Tensor(image["name"], "TYPE_UINT8", (1, image["height"], image["width"], 3))]
    if controls["top_k"] is not None:
        found.append(Tensor("top_k", "TYPE_INT64", (1, 1)))
    if controls["weight_threshold"] is not None:
        found.append(Tensor("weight_threshold", "TYPE_FP32", (1, 1)))
    return tuple(found)


def model_outputs(stored: StoredManifest) -> tuple[Tensor, ...]:
    """What the graph returns, for one image."""
    manifest = stored.content
    height, width = manifest["input"]["height"], manifest["input"]["width"]
    anchors = sum((height // stride) * (width // stride) for stride in STRIDES)
    classes = len(manifest["class_names"])
    if manifest["outputs"]["selection"] == "graph":
        candidates = min(manifest["outputs"]["candidates"], anchors * classes)
        found = [
            Tensor("boxes", "TYPE_FP32", (1, candidates, 4)),
            Tensor("scores", "TYPE_FP32", (1, candidates)),
            Tensor("class_ids", "TYPE_INT32", (1, candidates)),
        ]
    else:
        found = [
            Tensor("boxes", "TYPE_FP32", (1, anchors, 4)),
            Tensor("class_scores", "TYPE_FP32", (1, anchors, classes)),
        ]
    return (*found, *routing_outputs(stored))


def routing_outputs(stored: StoredManifest) -> tuple[Tensor, ...]:
    """What the mixture layers report; nothing without a mixture."""
    layers = stored.content["mixture"]
    if not layers:
        return ()
    dims = (1, len(layers), max(layer["num_experts"] for layer in layers))
    return (Tensor("gates", "TYPE_FP32", dims), Tensor("router_probs", "TYPE_FP32", dims))
