"""What a version of a model must do before it may serve."""

from functools import partial

import numpy as np

from service.artifact.golden import verify_golden
from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.backends.protocol import Backend, Call
from service.errors import ArtifactMismatch
from service.pipeline.run import replay_golden
from service.traffic.probe import infer_blank


async def prove_by_golden(artifact: Artifact, backend: Backend, allowed_s: float) -> None:
    """Check that a backend reproduces what the exporter recorded.

    Raises:
        ArtifactError: it does not.
    """
    call = Call.within(allowed_s, "sparsight-golden")
    await verify_golden(
        artifact, partial(replay_golden, manifest=artifact.manifest, backend=backend, call=call)
    )


async def prove_by_blank(manifest: Manifest, backend: Backend, allowed_s: float) -> None:
    """Check that a backend answers an empty canvas in numbers: all that can be done without a sample.

    Raises:
        ArtifactMismatch: an output is not finite.
        BackendFailed: an output is missing, or has another shape or type than the manifest says.
    """
    outputs = await infer_blank(backend, manifest, allowed_s)
    for name in manifest.output_names:
        if not np.isfinite(outputs[name]).all():
            raise ArtifactMismatch(name, float("nan"), 0.0, "a blank canvas")
