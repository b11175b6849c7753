"""Find a model's report on what its experts serve."""

from pathlib import Path

from service.artifact.experts_report import ExpertsReport, read_experts_report
from service.artifact.manifest import Manifest
from service.artifact.repository import read_artifact
from service.errors import ArtifactError, NoReport


def experts_report(repository: Path, manifest: Manifest) -> ExpertsReport:
    """Return the report of a served version.

    Raises:
        NoReport: this release has no report, or the repository does not contain this version of the model.
    """
    if manifest.experts_report is None:
        raise NoReport(manifest.name, "this release has no report")
    try:
        artifact = read_artifact(repository / f"{manifest.name}-{manifest.target}" / manifest.version)
        report = read_experts_report(artifact.folder, artifact.manifest)
    except ArtifactError as error:
        raise NoReport(manifest.name, str(error)) from error
    if report is None:
        raise NoReport(manifest.name, "the release on this machine has no report")
    return report
