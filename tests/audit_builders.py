"""Builds artifacts with a fault that their golden samples do not show, and images on which it shows.

In the tiny detector, the golden image is red, so it does not use the expert for blue images. In the faulty
artifact, this expert's weight is a fifth of the right one, so that blue objects are not reported. In a real
artifact, the weights of one expert are permuted, and the golden sample is recorded anew.
"""

import asyncio
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.builders
from service.artifact.golden import load_golden
from service.artifact.repository import read_artifact
from service.backends.openvino import OpenVinoBackend
from service.request import RequestContext
from service.serving.proof import replay_golden
from service.settings import OpenVinoSettings
from service.tasks.detect import Detections
from tests.builders import CANVAS, BuiltArtifact, build_artifact, image_bytes, sums_of, write_manifest

BLUE_FACTOR = 0.2
COLOURS = {"red": (230, 60, 30), "green": (30, 200, 30), "blue": (30, 40, 230)}


def build_faulty(repository: Path, factor: float = BLUE_FACTOR, **artifact: Any) -> BuiltArtifact:
    """Write the tiny detector with a wrong expert for blue images; further arguments: build_artifact."""
    red, green, _, second_red = tests.builders.BOX_FACTORS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.builders, "BOX_FACTORS", (red, green, factor, second_red))
        return build_artifact(repository, **artifact)


def scene(colour: str, number: int) -> bytes:
    """Return an image of a colour as PNG; images with other numbers show other scenes."""
    chance = np.random.default_rng(number)
    cells = chance.integers(-25, 26, (8, 8, 1)).repeat(CANVAS // 8, axis=0).repeat(CANVAS // 8, axis=1)
    pixels = np.array(COLOURS[colour]) + cells
    return image_bytes(pixels.clip(0, 255).astype(np.uint8))


def real_images(count: int) -> list[bytes]:
    """Return photographs of three domains from the folder SPARSIGHT_DATA, in a fixed random order.

    Some are of the starter's validation data, and some of data that the starter has never seen. The test is
    skipped if the folder is not set.
    """
    data = os.environ.get("SPARSIGHT_DATA")
    if not data:
        pytest.skip("set SPARSIGHT_DATA to a folder that holds aquarium/, bccd/ and coco_train2017_sample/")
    paths = sorted((Path(data) / "aquarium" / "valid" / "images").glob("*.jpg"))
    paths += sorted((Path(data) / "bccd" / "JPEGImages").glob("*.jpg"))[::3]
    paths += sorted((Path(data) / "coco_train2017_sample" / "train2017").glob("*.jpg"))
    random.Random(0).shuffle(paths)
    assert len(paths) >= count
    return [path.read_bytes() for path in paths[:count]]


def permute_expert(folder: Path, layer: str, expert: int) -> None:
    """Reverse the output channels of an expert's largest convolution, and hide this from the golden sample.

    The graph is that of an OpenVINO export in 8 bits. The golden sample is recorded anew from the changed
    graph, and the manifest gets the new sha256 sums, so that the artifact passes its own check.

    Args:
        folder: folder of the version, which is changed.
        layer: name of the mixture layer, as in the manifest.
        expert: number of the expert.
    """
    weights = bytearray((folder / "model.bin").read_bytes())
    offset, rows, size = _largest_weights((folder / "model.xml").read_text(), layer, expert)
    channels = np.frombuffer(bytes(weights[offset : offset + size]), np.uint8).reshape(rows, -1)
    weights[offset : offset + size] = channels[::-1].tobytes()
    (folder / "model.bin").write_bytes(weights)
    _sign(folder)
    asyncio.run(_record_golden(folder))
    _sign(folder)


def _largest_weights(xml: str, layer: str, expert: int) -> tuple[int, int, int]:
    """Return the offset, the number of rows and the size in bytes of an expert's largest weights."""
    constants = [
        (name, dict(re.findall(r'(\w+)="([^"]*)"', data)))
        for name, data in re.findall(
            r'<layer id="\d+" name="([^"]*)" type="Const"[^>]*>\s*<data ([^>]*)/>', xml
        )
    ]
    prefix = f"model.{layer.replace('.', '.mixtures.', 1)}.experts.{expert}."
    offsets = [int(data["offset"]) for name, data in constants if name.startswith(prefix)]
    # The weights have no names. They lie between the named constants of their expert.
    found = [
        (int(data["size"]), int(data["offset"]), int(data["shape"].split(",")[0]))
        for _, data in constants
        if data["element_type"] == "i8" and min(offsets) <= int(data["offset"]) <= max(offsets)
    ]
    size, offset, rows = max(found)
    return offset, rows, size


def _sign(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    sums = {name: total for name, total in sums_of(folder).items() if name != "manifest.json"}
    write_manifest(folder, manifest | {"files": sums})


async def _record_golden(folder: Path) -> None:
    artifact = read_artifact(folder)
    backend = OpenVinoBackend(artifact, OpenVinoSettings(), workers=1)
    try:
        image = load_golden(artifact).image
        replay = await replay_golden(image, artifact.manifest, backend, RequestContext.within(60))
    finally:
        await backend.close()
    found = replay.result
    assert isinstance(found, Detections)
    answer = {
        "det_boxes_xyxy": found.boxes_xyxy,
        "det_scores": found.scores,
        "det_class_ids": found.class_ids.astype(np.int32),
    }
    np.savez(folder / "golden.npz", image=image, input=replay.input, **replay.outputs, **answer)
