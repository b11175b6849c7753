"""Write the file of an artifact that reports what each expert serves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from training.errors import ExportError
from training.export.artifact.stored_manifest import REPOSITORY
from training.files import write_atomically

EXPERTS_FILE = "experts.json"
SCHEMA = REPOSITORY / "experts.schema.json"


def write_experts_file(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write a report into the folder of an artifact's version, and return the file's path.

    Raises:
        ExportError: the report does not satisfy the schema, so the exporter has a defect.
    """
    try:
        jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    except jsonschema.ValidationError as error:
        raise ExportError(f"{folder / EXPERTS_FILE}: {error.message}") from error
    path = folder / EXPERTS_FILE
    write_atomically(path, json.dumps(report, indent=1) + "\n")
    return path
