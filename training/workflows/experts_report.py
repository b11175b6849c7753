"""Add the report on what each expert serves to an artifact that was exported without one."""

import json
from pathlib import Path
from typing import Any

from training.data_config import DataConfig
from training.errors import ConfigError
from training.evaluate.experts_report import experts_report
from training.evaluate.routed import route_images
from training.export.artifact.experts_file import write_experts_file
from training.export.artifact.stored_manifest import StoredManifest, check_manifest, read_manifests
from training.export.targets.triton_options import TritonOptions
from training.export.triton.config import write_all_configs
from training.files import sha256_of, write_atomically
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import find_checkpoint, load_model
from training.trainer.loop import compute_device
from training.workflows.dataset_config import data_name
from training.workflows.measure import labelled_for


def add_experts_report(checkpoint: Path, artifact: Path, data: DataConfig) -> Path:
    """Route labelled images with a checkpoint, and write the report into the newest version of its artifact.

    The manifest and Triton's files of the model are written again, because both hold the new file's sha256.
    The images are routed at the artifact's default controls, in float32.

    Args:
        artifact: the folder `<name>-<target>` in a model repository.
        data: labelled images, preferably not those that the model was trained on.

    Returns:
        The path of the report.

    Raises:
        ConfigError: the folder holds no artifact, the artifact is from another checkpoint, its manifest has
            an old schema version, or its default controls choose no expert.
        DatasetError: the data has no class of the model, or an image cannot be loaded.
    """
    artifact, checkpoint = artifact.resolve(), find_checkpoint(checkpoint)
    stored = _newest(artifact)
    if stored.content["provenance"]["checkpoint_sha256"] != sha256_of(checkpoint):
        raise ConfigError(f"{artifact} was exported from another checkpoint than {checkpoint}")
    controls = _default_controls(stored)
    model, _ = load_model(checkpoint)
    dataset = labelled_for(model, data)
    routed = route_images(model.to(compute_device()), dataset, controls)
    report = experts_report(routed, dataset, data_name(data), controls)
    if report is None:
        raise ConfigError(f"{artifact} has no mixture of experts, or chooses no expert at its defaults")
    return _release(report, artifact, stored)


def _newest(artifact: Path) -> StoredManifest:
    found = read_manifests(artifact)
    if not found:
        raise ConfigError(f"{artifact} holds no artifact; give a folder <name>-<target> of a repository")
    if found[-1].document != found[-1].content:
        raise ConfigError(f"{artifact} has an old manifest: run triton-config --upgrade-manifests first")
    return found[-1]


def _default_controls(stored: StoredManifest) -> RoutingControls:
    defaults = {row["name"]: row["default"] for row in stored.content["inputs"] if row["role"] == "control"}
    if "top_k" not in defaults:
        raise ConfigError(f"{stored.model_name} has no input top_k, so it has no experts to report on")
    return RoutingControls(defaults["top_k"], defaults.get("weight_threshold", 0.0))


def _release(report: dict[str, Any], artifact: Path, stored: StoredManifest) -> Path:
    """Write the report first, then the manifest that lists it, then the files that hold the manifest."""
    folder = artifact / str(stored.version)
    path = write_experts_file(folder, report)
    manifest = dict(stored.document) | {"experts_report": path.name}
    manifest["files"] = dict(sorted({**manifest["files"], path.name: sha256_of(path)}.items()))
    check_manifest(manifest, str(folder))
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    write_all_configs(artifact.parent, TritonOptions(), name=stored.content["name"])
    return path
