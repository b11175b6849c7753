"""The manifests in the model repository, in any version of the manifest schema."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

from training.errors import ExportError
from training.export.artifact.version_1 import upgrade
from training.export.contract.tensors import Tensor

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
SCHEMAS = {1: REPOSITORY / "manifest.1.schema.json", 2: REPOSITORY / "manifest.schema.json"}


@dataclass(frozen=True)
class StoredManifest:
    """A manifest.json of the repository: its bytes on disk, and their contents."""

    version: int
    text: bytes

    @classmethod
    def of(cls, version_folder: Path) -> "StoredManifest":
        """Read a manifest from its version folder, without checking it; the folder's name is the version."""
        return cls(int(version_folder.name), (version_folder / "manifest.json").read_bytes())

    @cached_property
    def document(self) -> Any:
        """Return the parsed manifest with the keys of its own schema version."""
        return json.loads(self.text.decode("utf-8"))

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """Return the manifest with the keys of schema version 2."""
        return upgrade(self.document)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Return the inputs of the graph."""
        return tuple(map(Tensor.of, self.content["inputs"]))

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return the outputs of the graph."""
        return tuple(map(Tensor.of, self.content["outputs"]))

    @property
    def has_paths(self) -> bool:
        """Return whether the artifact has a graph for each path, and a router that chooses among them."""
        return self.content.get("paths") is not None

    @property
    def model_name(self) -> str:
        """Return the model's name in Triton, which is also the name of its folder."""
        return f"{self.content['name']}-{self.content['target']}"

    @property
    def sha256(self) -> str:
        """Return the hex digest of the file's bytes, which the service reports as the artifact's sha256."""
        return hashlib.sha256(self.text).hexdigest()


def check_manifest(manifest: Mapping[str, Any], where: str) -> None:
    """Check a manifest against the schema of the version that it states.

    A manifest that states no schema version is checked against the newest schema.

    Raises:
        ExportError: an entry does not satisfy the schema; the message names the entry.
    """
    version = manifest.get("schema_version") if isinstance(manifest, Mapping) else None
    schema = SCHEMAS[1] if version == 1 else SCHEMAS[2]
    try:
        jsonschema.validate(manifest, json.loads(schema.read_text(encoding="utf-8")))
    except jsonschema.ValidationError as error:
        entry = "/".join(str(part) for part in error.absolute_path)
        raise ExportError(f"{where}: manifest entry {entry!r}: {error.message}") from error


def read_manifests(folder: Path) -> list[StoredManifest]:
    """Return the manifests of all versions in a folder `<name>-<target>`, oldest first.

    Raises:
        ExportError: a manifest is not JSON, does not satisfy the schema, or names another model or version.
    """
    paths = [path for path in folder.glob("[1-9]*/manifest.json") if path.parent.name.isdecimal()]
    found = []
    for path in sorted(paths, key=lambda path: int(path.parent.name)):
        stored = StoredManifest.of(path.parent)
        try:
            document = stored.document
        except ValueError as error:
            raise ExportError(f"{path} is not JSON in UTF-8: {error}") from error
        check_manifest(document, str(path))
        said = stored.content["version"]
        if (stored.model_name, said) != (folder.name, path.parent.name):
            raise ExportError(f"{path} says that it is version {said} of {stored.model_name}")
        found.append(stored)
    return found
