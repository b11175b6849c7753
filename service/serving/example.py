"""Find the example image of a model: the image of its golden sample."""

from pathlib import Path

from service.artifact.golden import load_golden
from service.artifact.manifest import Manifest
from service.artifact.repository import read_artifact
from service.errors import ArtifactError, NoExample
from service.pipeline.encode import to_png


def example_image(repository: Path, manifest: Manifest) -> bytes:
    """Return a model's golden image as PNG.

    Raises:
        NoExample: the repository does not contain this version of the model, or the sample cannot be read.
    """
    try:
        artifact = read_artifact(repository / f"{manifest.name}-{manifest.target}" / manifest.version)
        return to_png(load_golden(artifact).image)
    except ArtifactError as error:
        raise NoExample(manifest.name, str(error)) from error
