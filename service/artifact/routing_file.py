"""Read the routing of single images that the exporter measured: a baseline for served images."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest, RoutingFile
from service.errors import ArtifactBroken
from service.request import Number

# S settings of the controls · N images · L mixture layers · E experts of the widest layer

_MOST_EXPERTS = 64  # of a layer; a chosen set is stored as that many bits
_HEADERS_BYTES = 4096  # allowed for the names, shapes and types of the arrays
# What a damaged or hostile file raises; see zipfile and numpy.load.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class MeasuredRouting:
    """The routing of the baseline's images at one setting of the controls."""

    controls: Mapping[str, Number]
    log_probs: NDArray[np.float32]  # (N, L, E) log of the routers' probabilities
    sets: NDArray[np.uint64]  # (N, L) bit e is set if expert e ran


def read_routing(folder: Path, manifest: Manifest) -> tuple[MeasuredRouting, ...]:
    """Return the measured routing at each setting, the default first; empty if nothing was measured.

    Args:
        folder: folder of the artifact.
        manifest: its manifest.

    Raises:
        ArtifactBroken: the file is missing or altered, or its arrays do not fit the manifest.
    """
    row = manifest.baseline.routing if manifest.baseline else None
    if row is None:
        return ()
    path = folder / row.file
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.files[row.file]:
            raise ArtifactBroken(f"{path} is not the file that was exported; copy the model again")
        log_probs, sets = _arrays(content, _size_bytes(row, manifest))
    except _UNREADABLE as error:
        raise ArtifactBroken(f"{path} cannot be read: {error}") from error
    _check(log_probs, sets, row, manifest, path)
    return tuple(
        MeasuredRouting(controls, log_probs[place].astype(np.float32), sets[place])
        for place, controls in enumerate(row.settings)
    )


def _arrays(content: bytes, most_bytes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both arrays of a file, which must not become larger than `most_bytes` when it is unpacked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size_bytes = sum(one.file_size for one in archive.infolist())
    if size_bytes > most_bytes:
        raise ValueError(f"it would take {size_bytes} bytes, and its arrays need at most {most_bytes}")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        found = file["log_probs"], file["sets"]
    if not all(isinstance(each, np.ndarray) for each in found):  # numpy returns the bytes of other files
        raise ValueError("it holds something else than arrays")
    return found


def _size_bytes(row: RoutingFile, manifest: Manifest) -> int:
    experts = max((layer.num_experts for layer in manifest.mixture), default=0)
    routed = len(row.settings) * row.images * len(manifest.mixture)
    return _HEADERS_BYTES + routed * (2 * experts + 8)


def _check(
    log_probs: NDArray[Any], sets: NDArray[Any], row: RoutingFile, manifest: Manifest, path: Path
) -> None:
    layers, experts = len(manifest.mixture), max(layer.num_experts for layer in manifest.mixture)
    if experts > _MOST_EXPERTS:
        raise ArtifactBroken(f"{path}: a layer has {experts} experts, and a baseline at most {_MOST_EXPERTS}")
    wanted = (len(row.settings), row.images, layers)
    if log_probs.shape != (*wanted, experts) or sets.shape != wanted:
        raise ArtifactBroken(f"{path}: arrays {log_probs.shape} and {sets.shape} do not fit the manifest")
    if log_probs.dtype != np.float16 or sets.dtype != np.uint64:
        raise ArtifactBroken(f"{path}: arrays are {log_probs.dtype} and {sets.dtype}, not float16 and uint64")
    if not (np.isfinite(log_probs).all() and (log_probs <= 0).all()):
        raise ArtifactBroken(f"{path}: a log-probability is not a number from -inf to 0")
