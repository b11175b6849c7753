"""Check that a backend runs a version of a model correctly, before the version may serve."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import Golden, compare_input, compare_outputs, load_golden
from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.backends.contract import check_outputs
from service.backends.protocol import Backend, infer
from service.errors import ArtifactMismatch, ArtifactUnproved
from service.pipeline.preprocess import preprocess
from service.request import RequestContext
from service.settings import Settings
from service.tasks.choose import Result, task_of
from service.tasks.resolve import golden_params
from service.traffic.probe import infer_blank
from service.types import RawOutputs


@dataclass(frozen=True)
class Replay:
    """The model input, outputs and predictions that this process computed for the golden image."""

    input: NDArray[np.uint8]  # (1, H, W, 3)
    outputs: RawOutputs
    result: Result


def check_proved(manifest: Manifest, settings: Settings) -> None:
    """Check that the exporter proved that the artifact works, or that the settings allow unproved artifacts.

    Raises:
        ArtifactUnproved: the artifact is unproved, and the settings forbid it; the message says what to do.
    """
    if not manifest.proved and not settings.serve_unproved:
        raise ArtifactUnproved(
            f"{manifest.name}-{manifest.target} version {manifest.version} was exported with --unproved, so "
            "nothing proves that it works: train it longer and export it again, or set "
            "SPARSIGHT_SERVE_UNPROVED=true"
        )


async def prove_by_golden(artifact: Artifact, backend: Backend, allowed_s: float) -> None:
    """Check that a backend reproduces the golden sample of an artifact, within `allowed_s` seconds.

    Raises:
        ArtifactError: the sample is broken, or the results differ from it.
        BackendFailed, BackendUnavailable, BackendBusy, DeadlineExceeded: the backend did not answer.
    """
    context = RequestContext.within(allowed_s, "sparsight-golden")
    golden = await asyncio.to_thread(load_golden, artifact)
    replay = await replay_golden(golden.image, artifact.manifest, backend, context)
    check_replay(replay, golden, artifact.manifest)


async def replay_golden(
    image: NDArray[np.uint8], manifest: Manifest, backend: Backend, context: RequestContext
) -> Replay:
    """Return the results for the golden image, (H, W, 3) RGB, computed with the sample's parameters."""
    params = golden_params(manifest)
    placed = preprocess(image, manifest.images)
    outputs = await infer(backend, manifest.feed(placed.canvas, params.controls), context)
    return Replay(placed.canvas, outputs, task_of(manifest).read(outputs, params, placed))


def check_replay(replay: Replay, golden: Golden, manifest: Manifest) -> None:
    """Compare a replay's model input, outputs and predictions with the golden sample.

    Raises:
        ArtifactBroken: the sample lacks the task's predictions.
        ArtifactMismatch: a value differs by more than its tolerance; the message names the value
            and the difference.
    """
    compare_input(replay.input, golden, manifest)
    compare_outputs(replay.outputs, golden, manifest)
    task_of(manifest).compare(replay.result, golden)


async def prove_by_blank(manifest: Manifest, backend: Backend, allowed_s: float) -> None:
    """Check that a backend returns finite numbers for a blank image.

    This check is for versions that have no golden sample.

    Raises:
        ArtifactMismatch: an output contains NaN or infinity.
        BackendFailed: an output is missing, or its shape or dtype differs from the manifest.
    """
    outputs = await infer_blank(backend, manifest, allowed_s)
    check_outputs(outputs, manifest, 1, "the backend")
    for row in manifest.outputs:
        if not np.isfinite(outputs[row.name]).all():
            raise ArtifactMismatch(row.name, float("nan"), 0.0, "a blank image")
