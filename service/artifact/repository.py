"""Find the artifacts to serve, and verify the sha256 of their files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from service.artifact.experts_report import read_experts_report
from service.artifact.manifest import Manifest, parse_manifest
from service.errors import ArtifactBroken, ArtifactError, ArtifactMissing


@dataclass(frozen=True)
class Artifact:
    """One version of one model on disk, whose files have been verified."""

    folder: Path
    manifest: Manifest
    sha256: str  # sha256 of manifest.json, which contains the sha256 of every other file

    @property
    def graph(self) -> Path:
        """Return the path of the model's graph; raise ArtifactBroken if the model has several graphs."""
        return self.folder / self.manifest.only_graph().file


def find_artifacts(repository: Path, target: str) -> dict[str, Artifact | ArtifactError]:
    """Return the verified artifact of each model's highest version for a target, by model name, sorted.

    A model whose files are missing, altered or invalid has its error in place of the artifact.

    The function ignores folders whose name starts with a dot, because an exporter has not finished them. It
    also ignores version folders whose name is not a number.

    Raises:
        ArtifactMissing: the repository does not exist, or contains no model for the target.
    """
    if not repository.is_dir():
        raise ArtifactMissing(f"model repository {repository} is not a folder; set SPARSIGHT_REPOSITORY")
    models = sorted(
        folder
        for folder in repository.glob(f"*-{target}")
        if folder.is_dir() and not folder.name.startswith(".")
    )
    artifacts: dict[str, Artifact | ArtifactError] = {}
    for model in models:
        name = model.name.removesuffix(f"-{target}")
        try:
            if version := _highest_version(model):
                artifacts[name] = read_artifact(version)
        except ArtifactError as error:
            artifacts[name] = error
        except OSError as error:
            artifacts[name] = ArtifactBroken(f"{model} cannot be read: {error.strerror}")
    if not artifacts:
        raise ArtifactMissing(
            f"no model for target {target!r} in {repository}: it has no"
            f" <name>-{target}/<version>/manifest.json; {how_to_export('NAME', target)}"
        )
    return artifacts


def how_to_export(name: str, target: str) -> str:
    """Return advice for the user: the command that exports a missing model for a target."""
    return f"export one: python -m training export CHECKPOINT --name {name} --target {target}"


def read_artifact(folder: Path) -> Artifact:
    """Read one version folder, `<name>-<target>/<version>`, and verify every file that its manifest lists.

    Raises:
        ArtifactBroken: a file is missing or altered, or the manifest is invalid; the message names the file.
    """
    path = folder / "manifest.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ArtifactBroken(f"{path} cannot be read: {error.strerror}") from error
    manifest = parse_manifest(text, str(path))
    expected = (f"{manifest.name}-{manifest.target}", manifest.version)
    if (folder.resolve().parent.name, folder.resolve().name) != expected:
        raise ArtifactBroken(f"{path} belongs in {'/'.join(expected)}, by its name, target and version")
    for name, wanted in manifest.files.items():
        _verify(folder / name, wanted)
    read_experts_report(folder, manifest)  # refuse an invalid report now, not when a caller asks for it
    return Artifact(folder, manifest, hashlib.sha256(text).hexdigest())


def _highest_version(model: Path) -> Path | None:
    versions = [
        folder
        for folder in model.iterdir()
        if folder.is_dir() and folder.name.isascii() and folder.name.isdigit()
    ]
    return max(versions, key=lambda folder: int(folder.name), default=None)


def _verify(path: Path, wanted: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactBroken(f"{path} cannot be read: {error.strerror}") from error
    if found != wanted:
        raise ArtifactBroken(f"{path} has sha256 {found}, the manifest has {wanted}; copy the model again")
