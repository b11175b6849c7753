"""Write Triton's files for an artifact: config.pbtxt, and the models that Triton needs beside the artifact.

These are <artifact>-nms and <artifact>-detect, and, for a model with paths, a model for each of its graphs.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from training.errors import ConfigError, ExportError
from training.export.artifact import version_1
from training.export.artifact.release import release, staging_room
from training.export.artifact.stored_manifest import StoredManifest, check_manifest, read_manifests
from training.export.targets.triton_options import TritonOptions
from training.export.triton import text
from training.export.triton.path_models import models_with_graphs, stage_path_models, stale_models
from training.export.triton.text import CONFIG_FILE
from training.files import write_atomically

log = logging.getLogger(__name__)

NMS_SOURCES = Path(__file__).resolve().parent / "nms"
ONLY_VERSION = "1"  # of -nms and -detect, which do what the newest manifest states


def stage_triton_models(room: Path, manifests: Sequence[StoredManifest], options: TritonOptions) -> None:
    """Write Triton's files for one `<name>-<target>` into a staging folder.

    For a model that finds objects, also write the models `<name>-<target>-nms` and `<name>-<target>-detect`.
    These two models take one image, so they are left out if the graph has a fixed batch of several images.
    For a model with paths, also write a model for each of its graphs.

    Args:
        room: the staging folder, in which each model gets a folder. The folder `<name>-<target>` may already
            exist and hold versions of the graph.
        manifests: the manifest of every version that will be in the repository.

    Raises:
        ConfigError: the model does not support the options; only some of its versions have a fixed batch of
            several images, or have paths; or its versions have different tasks.
    """
    name = manifests[0].model_name
    if len({stored.has_paths for stored in manifests}) > 1:
        raise ConfigError(f"{name} has versions with and without paths; export one under another --name")
    several = [(text.fixed_batch(stored) or 1) > 1 for stored in manifests]
    if any(several) and not all(several):
        raise ConfigError(
            f"{name} has versions for single images and versions for several at once, which -nms and -detect "
            "cannot serve alike; export a fixed batch under another --name"
        )
    if len({stored.content["task"] for stored in manifests}) > 1:
        raise ConfigError(f"{name} has versions for other tasks; export this one under another --name")
    (room / name).mkdir(exist_ok=True)
    if manifests[0].has_paths:
        stage_path_models(room, manifests, options)
    else:
        (room / name / CONFIG_FILE).write_text(text.model_config(manifests, options), encoding="ascii")
    if any(several) or manifests[-1].content["task"] == "classify":
        return
    nms, detect = room / f"{name}{text.NMS_SUFFIX}", room / f"{name}{text.DETECT_SUFFIX}"
    (nms / ONLY_VERSION).mkdir(parents=True)
    for source in (*NMS_SOURCES.glob("*.py"), Path(version_1.__file__)):
        (nms / ONLY_VERSION / source.name).write_bytes(source.read_bytes())
    (nms / CONFIG_FILE).write_text(text.nms_config(manifests, options), encoding="ascii")
    (detect / ONLY_VERSION).mkdir(parents=True)
    (detect / ONLY_VERSION / ".keep").touch()  # Triton asks for a version, and git keeps no empty folder
    (detect / CONFIG_FILE).write_text(text.detect_config(manifests), encoding="ascii")


def write_all_configs(repository: Path, options: TritonOptions, *, name: str | None = None) -> list[Path]:
    """Write Triton's files for every model of a repository; on an error, change nothing.

    Models of graphs whose artifact is gone are removed.

    Args:
        name: write only for this model, with all of its targets; None: for every model.

    Returns:
        The folders `<name>-<target>` of these models.

    Raises:
        ExportError: there is no such model, a manifest is broken, or a file cannot be written.
        ConfigError: a model does not support the options.
    """
    stored = _stored(repository, name)
    if not (stored or _models_with_graphs(repository, name)):
        raise ExportError(f"{repository} holds no version of {name or 'any model'}")
    with staging_room(repository, "triton-config") as room:
        for manifests in stored:
            stage_triton_models(room, manifests, options)
        release_models(room, repository, name)
    return [repository / manifests[0].model_name for manifests in stored]


def release_models(room: Path, repository: Path, name: str | None) -> None:
    """Move a staging folder into the repository, and remove models of graphs that are not there any more.

    A graph is not there any more if its version was deleted by hand, or its whole artifact, under whose name
    there may be an artifact without paths now.

    Args:
        room: the staging folder, in which each model has a folder.
        repository: the model repository.
        name: remove only models of graphs of this model, with all of its targets; None: of every model.

    Raises:
        ExportError: a file or folder could not be moved or removed, so nothing was changed; or a manifest of
            the repository is broken.
    """
    stale = []
    for model in _models_with_graphs(repository, name):
        manifests = [*read_manifests(repository / model), *read_manifests(room / model)]
        stale += stale_models(repository, model, manifests)
    release(room, repository, stale)
    for folder in stale:
        log.info(f"removed {folder}, whose graph is not there any more")


def upgrade_manifests(repository: Path, *, name: str | None = None) -> list[Path]:
    """Convert every manifest.json from schema version 1 to 2; graphs and their checksums stay the same.

    Each rewritten manifest has a new sha256, by which the service identifies the artifact. Triton's files
    still hold the old sha256, so the caller must write these files again afterwards.

    Args:
        name: rewrite only for this model, with all of its targets; None: for every model.

    Returns:
        The manifests that were rewritten.

    Raises:
        ExportError: a manifest is broken, so no manifest was rewritten.
    """
    old = [
        (repository / stored.model_name / str(stored.version) / "manifest.json", stored.content)
        for manifests in _stored(repository, name)
        for stored in manifests
        if stored.document != stored.content
    ]
    for path, content in old:
        check_manifest(content, str(path))
    for path, content in old:
        write_atomically(path, json.dumps(content, indent=2) + "\n")
    return [path for path, _ in old]


def _models_with_graphs(repository: Path, name: str | None) -> list[str]:
    found = models_with_graphs(repository)
    return sorted(model for model in found if name in (None, model.rpartition("-")[0]))


def _stored(repository: Path, name: str | None) -> list[list[StoredManifest]]:
    """Return the manifests of every model, or of the model called `name`, as one list for each target."""
    folders = {path.parents[1] for path in repository.glob("*/[1-9]*/manifest.json")}
    stored = [read_manifests(folder) for folder in sorted(folders) if not folder.name.startswith(".")]
    return [manifests for manifests in stored if manifests and name in (None, manifests[0].content["name"])]
