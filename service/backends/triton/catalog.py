"""List the model versions in a Triton server's repository index, and read their manifests."""

import hashlib
from collections.abc import Mapping

from service.artifact.manifest import Manifest, parse_manifest
from service.backends.triton.channel import RepositoryVersion, TritonChannel
from service.errors import ArtifactBroken

_ASK_S = 2.0


async def read_versions(channel: TritonChannel, target: str) -> tuple[RepositoryVersion, ...]:
    """Return all versions of all models that the server's repository index lists for a target.

    Raises:
        BackendUnavailable: the server does not answer.
    """
    return tuple(
        one
        for one in await channel.read_index(_ASK_S)
        if one.model.endswith(f"-{target}") and one.version.isascii() and one.version.isdigit()
    )


async def read_manifest(channel: TritonChannel, one: RepositoryVersion) -> tuple[Manifest, str] | None:
    """Return manifest and sha256 of a loaded version; None if its model configuration has no manifest.

    Raises:
        BackendUnavailable: the server does not answer, or has unloaded the version meanwhile.
        ArtifactBroken: the manifest does not match its sha256, or is invalid.
    """
    parameters = await channel.read_parameters(one.model, one.version, _ASK_S)
    return manifest_in(parameters, one.model, one.version)


def manifest_in(parameters: Mapping[str, str], model: str, version: str) -> tuple[Manifest, str] | None:
    """Return the verified manifest and its sha256 from a model configuration's parameters.

    Return None if the parameters contain no manifest of `version`.

    Raises:
        ArtifactBroken: the manifest does not match its sha256, is invalid, or is of another model or version.
    """
    key, where = f"manifest.{version}", f"triton: {model} version {version}"
    if key not in parameters:
        return None
    text = parameters[key].encode()
    sha256 = hashlib.sha256(text).hexdigest()
    said = parameters.get(f"sha256.{version}")
    if said != sha256:
        raise ArtifactBroken(f"{where}: its manifest has sha256 {sha256}, but its configuration has {said}")
    manifest = parse_manifest(text, where)
    if (f"{manifest.name}-{manifest.target}", manifest.version) != (model, version):
        raise ArtifactBroken(
            f"{where}: its manifest is of {manifest.name}-{manifest.target} version {manifest.version}"
        )
    return manifest, sha256
