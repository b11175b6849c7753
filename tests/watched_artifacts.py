"""Builds the tiny detector of `tests/builders.py` with a baseline that the service compares images with.

The baseline's images have one colour each: about red, about green or about blue. An image of any other colour
is routed unlike all of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.builders import (
    BuiltArtifact,
    build_artifact,
    compile_graph,
    image_bytes,
    run_graph,
    sums_of,
    write_manifest,
)

COLOURS = ((200, 60, 40), (60, 200, 40), (60, 40, 200))
IMAGES = 150
_CONTROLS = {"top_k": 2, "weight_threshold": 0.0}


def build_watched(repository: Path, **options: Any) -> BuiltArtifact:
    """Write a whole artifact whose routing.npz has IMAGES images; the options are those of build_artifact."""
    built = build_artifact(repository, **options)
    graph = compile_graph(built.folder / "model.xml")
    outputs = [run_graph(graph, one[None], top_k=2) for one in baseline_pixels()]
    probabilities = np.stack([one["router_probs"][0] for one in outputs])  # (N, L, E)
    chosen = np.stack([one["gates"][0] for one in outputs]) > 0
    sets = (chosen * (1 << np.arange(chosen.shape[-1]))).sum(axis=-1).astype(np.uint64)  # (N, L)
    log_probs = np.log(np.maximum(probabilities, 1e-3)).clip(max=0).astype(np.float16)
    np.savez(built.folder / "routing.npz", log_probs=log_probs[None], sets=sets[None])
    row = {"file": "routing.npz", "data": "colours", "images": IMAGES, "settings": [_CONTROLS]}
    (built.folder / "manifest.json").unlink()
    manifest = {
        **built.manifest,
        "baseline": {**built.manifest["baseline"], "routing": row},
        "files": sums_of(built.folder),
    }
    write_manifest(built.folder, manifest)
    return BuiltArtifact(repository, built.folder, manifest)


def baseline_pixels() -> list[NDArray[np.uint8]]:
    """Return the images of the baseline, (64, 64, 3) each."""
    random = np.random.default_rng(0)
    return [plain(np.array(COLOURS[i % 3]) + random.normal(0, 12, 3)) for i in range(IMAGES)]


def plain(colour: Any) -> NDArray[np.uint8]:
    """Return an image (64, 64, 3) of one colour."""
    return np.full((64, 64, 3), np.clip(colour, 0, 255).astype(np.uint8))


def common_file(number: int = 0) -> bytes:
    """Return an image file that is routed like the baseline's."""
    return image_bytes(baseline_pixels()[number])


def novel_file(number: int = 0) -> bytes:
    """Return an image file that is routed unlike the baseline's; two numbers are routed unlike each other."""
    return image_bytes(plain((250, 250, 10 + 12 * number)))
