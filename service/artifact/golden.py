"""Read a model's golden sample (one image and its recorded outputs), and compare new outputs with it."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.errors import ArtifactBroken, ArtifactMismatch
from service.types import RawOutputs

_OF_EVERY_TASK = ("gates", "router_probs", "path_probs")


@dataclass(frozen=True)
class Golden:
    """A golden sample: one image, and the outputs that the exporter recorded for it."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    input: NDArray[np.uint8]  # (1, H, W, 3)
    outputs: RawOutputs
    arrays: Mapping[str, NDArray[Any]]  # every array of the file, including the task's predictions
    where: str  # path of the file

    def answer(self, name: str) -> NDArray[Any]:
        """Return an array of the recorded predictions, by its name in the file.

        Raises:
            ArtifactBroken: the file has no array of this name.
        """
        if name not in self.arrays:
            raise ArtifactBroken(f"{self.where} has no array {name!r}")
        return self.arrays[name]


def load_golden(artifact: Artifact) -> Golden:
    """Return the golden sample of an artifact, read from golden.npz without pickle.

    Raises:
        ArtifactBroken: the file cannot be read, or an array is missing or has a wrong shape.
    """
    path = artifact.folder / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _golden(artifact.manifest, arrays, str(path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactBroken(f"{path} cannot be read: {error}") from error
    except KeyError as error:
        raise ArtifactBroken(f"{path} has no array {error.args[0]!r}") from error


def compare_input(got: NDArray[np.uint8], golden: Golden, manifest: Manifest) -> None:
    """Check that resizing the golden image gives the recorded model input.

    Raises:
        ArtifactMismatch: a pixel differs by more grey levels than the manifest allows.
    """
    limit = np.float64(manifest.golden.input_levels)
    _compare("input", got, golden.input, np.full(_unbatched(golden.input).shape, limit))


def compare_outputs(outputs: RawOutputs, golden: Golden, manifest: Manifest) -> None:
    """Check that gates, router_probs, path_probs and probabilities agree with the golden sample.

    This function does not compare a detector's candidates, because candidates with equal scores can swap
    places.

    Raises:
        ArtifactMismatch: an output differs by more than its tolerance; the message says by how much.
    """
    # Other outputs are not compared, because rows with equal scores may swap places. Their predictions are.
    in_place = (*_OF_EVERY_TASK, *manifest.task_settings.roles_in_place())
    for row in manifest.outputs:
        if row.role in in_place:
            want = golden.outputs[row.name]
            _compare(row.name, outputs[row.name], want, row.tolerance.limits(_unbatched(want)))


def _golden(manifest: Manifest, arrays: dict[str, NDArray[Any]], where: str) -> Golden:
    image = arrays["image"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 (H, W, 3)")
    outputs = {row.name: arrays[row.name] for row in manifest.outputs}
    return Golden(image, arrays["input"], outputs, arrays, where)


def _unbatched(array: NDArray[Any]) -> NDArray[Any]:
    # The sample's arrays may be stored with or without their batch axis.
    return array[0] if array.ndim and array.shape[0] == 1 else array


def _compare(name: str, got: NDArray[Any], want: NDArray[Any], limits: NDArray[np.float64]) -> None:
    got, want = _unbatched(got), _unbatched(want)
    if got.shape != want.shape:
        limit = float(limits.max(initial=0.0))
        raise ArtifactMismatch(name, float("inf"), limit, f"shape {got.shape}, golden {want.shape}")
    errors = np.abs(got.astype(np.float64) - want.astype(np.float64))
    within = errors <= limits  # written so that NaN fails too
    if not within.all():
        worst = int(np.argmax(np.where(within, -1.0, np.nan_to_num(errors - limits, nan=np.inf))))
        raise ArtifactMismatch(name, float(errors.flat[worst]), float(limits.flat[worst]))
