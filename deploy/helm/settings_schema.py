"""Write the gateway's settings into the chart's values.schema.json: `python deploy/helm/settings_schema.py`.

Run it after a change of service/settings.py. A test compares the file with the settings.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "deploy" / "helm" / "sparsight" / "values.schema.json"
FROM_SECRETS = {
    "admin_token"
}  # values end up in plain text in the cluster, so the chart takes it from a Secret
_KEPT = {
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "items",
}


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the chart's value `gateway.settings`, which requires no setting."""
    sys.path.insert(0, str(ROOT))
    from service.settings import Settings

    document = Settings.model_json_schema(by_alias=False)
    rows = _reduced(document, document)
    for name in FROM_SECRETS:
        rows["properties"].pop(name, None)
    return rows


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _reduced(row: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return the types and limits of a schema, which Helm needs, without titles, texts and defaults."""
    if "$ref" in row:
        row = document["$defs"][row["$ref"].rpartition("/")[2]]
    if "properties" in row:
        return _closed({name: _reduced(inner, document) for name, inner in row["properties"].items()})
    for inner in row.get("anyOf", ()):  # a setting that may be unset: leave it out of the values
        if inner.get("type") != "null":
            return _reduced({**row, **inner, "anyOf": ()}, document)
    kept = {key: value for key, value in row.items() if key in _KEPT}
    if row.get("type") == "array" and "minLength" in kept:  # pydantic's word for a tuple's minItems
        kept["minItems"] = kept.pop("minLength")
    if "items" in kept:
        kept["items"] = _reduced(kept["items"], document)
    return kept


def main() -> None:
    """Write the settings into the schema; leave the rest of the file as it is."""
    schema = json.loads(SCHEMA.read_text())
    schema["$defs"]["settings"] = settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    main()
