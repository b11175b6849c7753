"""Manifests as they are stored in the repository, of any schema version."""

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

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
SCHEMAS = {1: REPOSITORY / "manifest.1.schema.json", 2: REPOSITORY / "manifest.schema.json"}


def check_manifest(manifest: Mapping[str, Any], where: str) -> None:
    """Check a manifest against the schema of its version, or the newest schema if it states none.

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


def read_manifests(folder: Path) -> list["StoredManifest"]:
    """Return the manifests of all versions in a folder `<name>-<target>`, oldest first.

    Raises:
        ExportError: a manifest is not JSON, does not satisfy the schema, or names another model or version.
    """
    versions = (
        int(path.parent.name) for path in folder.glob("[1-9]*/manifest.json") if path.parent.name.isdecimal()
    )
    found = []
    for version in sorted(versions):
        path = folder / str(version) / "manifest.json"
        stored = StoredManifest(version, path.read_bytes())
        try:
            document = stored.document
        except ValueError as error:
            raise ExportError(f"{path} is not JSON in UTF-8: {error}") from error
        check_manifest(document, str(path))
        if (stored.model_name, stored.content["version"]) != (folder.name, str(version)):
            said = stored.content["version"]
            raise ExportError(f"{path} says that it is version {said} of {stored.model_name}")
        found.append(stored)
    return found


@dataclass(frozen=True)
class StoredManifest:
    """A manifest.json, byte for byte as it is on disk."""

    version: int
    text: bytes

    @cached_property
    def document(self) -> Any:
        """Return the parsed manifest with the keys of its own schema version."""
        return json.loads(self.text.decode("utf-8"))

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """Return the manifest with the keys of schema version 2."""
        return upgrade(self.document)

    @property
    def model_name(self) -> str:
        """Return the model's name in Triton, which is also the name of its folder."""
        return f"{self.content['name']}-{self.content['target']}"

    @property
    def sha256(self) -> str:
        """Return the hex digest of the file's bytes, which the service reports as the artifact's sha256."""
        return hashlib.sha256(self.text).hexdigest()
