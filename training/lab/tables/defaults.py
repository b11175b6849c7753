"""The default controls of an artifact: which settings its export measured, and why it chose one of them."""

import json
from pathlib import Path
from typing import Any

from training.errors import ExportError
from training.export.artifact.stored_manifest import StoredManifest, read_manifests
from training.export.proof.defaults import Choice, Setting
from training.models.mixture.routing import RoutingControls


def newest_version(folder: Path) -> StoredManifest | None:
    """Return the manifest in a folder, which can be the folder of a version or of a whole artifact.

    In the folder of an artifact, use its newest version. Return None if the folder holds no artifact.

    Raises:
        ExportError: a manifest is damaged.
    """
    if (folder / "manifest.json").is_file():
        found = read_manifests(folder.resolve().parent)
        return next((each for each in found if str(each.version) == folder.resolve().name), None)
    if not folder.is_dir():
        return None
    return max(read_manifests(folder), key=lambda each: each.version, default=None)


def defaults_table(stored: StoredManifest) -> str:
    """Return as text the settings that an export measured, and why it chose one as the default.

    Raises:
        ExportError: the manifest does not state how the defaults were chosen.
    """
    found, choice = _stated(stored), _choice(stored)
    lines = [f"{stored.model_name} version {stored.version}; {found['reason']}"]
    if choice.settings:
        lines += [f"measured on {choice.images} images: {choice.data}", choice.table]
    return "\n".join(lines)


def defaults_json(stored: StoredManifest) -> str:
    """Return what the manifest states about the defaults, as JSON.

    Raises:
        ExportError: the manifest does not state how the defaults were chosen.
    """
    controls = _choice(stored).controls.settings
    facts = {"name": stored.model_name, "version": str(stored.version), **controls}
    return json.dumps({**facts, **_stated(stored)}, indent=2)


def default_controls(stored: StoredManifest) -> RoutingControls | None:
    """Return the default controls of an artifact; None if the artifact has no controls."""
    defaults = {row["name"]: row["default"] for row in stored.content["inputs"] if row["role"] == "control"}
    if "top_k" not in defaults:
        return None
    return RoutingControls(defaults["top_k"], defaults.get("weight_threshold", 0.0))


def _stated(stored: StoredManifest) -> dict[str, Any]:
    found: dict[str, Any] | None = stored.content.get("default_controls")
    if found is None:
        raise ExportError(
            f"{stored.model_name} version {stored.version} does not state how its defaults were chosen: "
            "exports did not always note it; to inspect its routing, give its checkpoint"
        )
    return found


def _choice(stored: StoredManifest) -> Choice:
    found, controls = _stated(stored), default_controls(stored)
    assert controls is not None, "only an artifact with controls states their defaults"
    settings = tuple(Setting(**row) for row in found["measured"])
    return Choice(controls, found["reason"], found["data"], found["images"], found["metric"], settings)
