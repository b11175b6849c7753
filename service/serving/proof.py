"""What a version of a model must do before it may serve."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import Golden, compare_input, compare_outputs, load_golden
from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.backends.contract import check_outputs
from service.backends.protocol import Backend
from service.errors import ArtifactMismatch
from service.pipeline.preprocess import preprocess
from service.request import RequestContext
from service.tasks.choose import Result, task_of
from service.tasks.resolve import golden_params
from service.traffic.probe import infer_blank
from service.types import RawOutputs


@dataclass(frozen=True)
class Replay:
    """What this process made of the golden image."""

    input: NDArray[np.uint8]  # (1, H, W, 3)
    outputs: RawOutputs
    result: Result


async def prove_by_golden(artifact: Artifact, backend: Backend, allowed_s: float) -> None:
    """Check that a backend reproduces what the exporter recorded.

    Raises:
        ArtifactError: it does not.
    """
    context = RequestContext.within(allowed_s, "sparsight-golden")
    golden = await asyncio.to_thread(load_golden, artifact)
    replay = await replay_golden(golden.image, artifact.manifest, backend, context)
    check_replay(replay, golden, artifact.manifest)


async def replay_golden(
    image: NDArray[np.uint8], manifest: Manifest, backend: Backend, context: RequestContext
) -> Replay:
    """Run the stages of a request on the golden image, (H, W, 3) RGB, with the parameters of the sample."""
    params = golden_params(manifest)
    placed = preprocess(image, manifest.images)
    outputs = await backend.infer(manifest.feed(placed.canvas, params.controls), context)
    return Replay(placed.canvas, outputs, task_of(manifest).read(outputs, params, placed))


def check_replay(replay: Replay, golden: Golden, manifest: Manifest) -> None:
    """Compare a replay with the sample: the canvas, the outputs, what the task makes of them.

    Raises:
        ArtifactBroken: the sample lacks the answer of the task.
        ArtifactMismatch: names the first that differs, and by how much.
    """
    compare_input(replay.input, golden, manifest)
    compare_outputs(replay.outputs, golden, manifest)
    task_of(manifest).compare(replay.result, golden)


async def prove_by_blank(manifest: Manifest, backend: Backend, allowed_s: float) -> None:
    """Check that a backend answers an empty canvas in numbers: all that can be done without a sample.

    Raises:
        ArtifactMismatch: an output is not finite.
        BackendFailed: an output is missing, or has another shape or type than the manifest says.
    """
    outputs = await infer_blank(backend, manifest, allowed_s)
    check_outputs(outputs, manifest, 1, "the backend")
    for row in manifest.outputs:
        if not np.isfinite(outputs[row.name]).all():
            raise ArtifactMismatch(row.name, float("nan"), 0.0, "a blank canvas")
