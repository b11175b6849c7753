"""Measure the routing of an exported artifact again, and replace its baseline."""

import json
import logging
from pathlib import Path

import numpy as np

from training.data.images.image_file import is_image, read_image
from training.data.images.reduced_jpeg import Fit
from training.data.open import open_dataset
from training.data.sample import Sample, no_boxes
from training.data_config import DataConfig
from training.errors import ConfigError, DatasetError
from training.export.artifact.routing_file import ROUTING_FILE, Graph, Images, measure_routing
from training.export.artifact.stored_manifest import check_manifest
from training.export.contract.tensors import CONTROL
from training.export.targets.triton_options import TritonOptions
from training.export.triton.config import write_all_configs
from training.files import sha256_of, write_atomically
from training.predict.open import MANIFEST_FILE, open_artifact
from training.workflows.dataset_config import data_name

NamedImages = tuple[str, Images]
"""Images, and the name of their data for the manifest."""

LEAST_IMAGES = 100
"""Images that a baseline needs, because the service compares nothing with a smaller one."""

log = logging.getLogger(__name__)


class UnlabelledImages:
    """The image files of a folder and of its subfolders, in order of their paths."""

    def __init__(self, folder: Path) -> None:
        """Find the images; raise DatasetError if there are none."""
        self._paths = sorted(path for path in folder.rglob("*") if path.is_file() and is_image(path))
        if not self._paths:
            raise DatasetError(f"{folder}: there is no image in this folder")

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an image without labels; raise DatasetError if it cannot be decoded."""
        image, name = read_image(self._paths[index], fit=fit), self._paths[index].stem
        return Sample(image.pixels, no_boxes(), np.zeros(0, dtype=np.int64), name, reduced=image.reduced)


def data_images(data: DataConfig) -> NamedImages:
    """Return the name and the images of a data set; raise DatasetError if it cannot be read."""
    return data_name(data), open_dataset(data)


def training_images(data: DataConfig) -> NamedImages | None:
    """Return the name and the images of training data, which fill up the others; None if there are none."""
    try:
        return data_images(data)
    except DatasetError:
        return None  # the folder has no such split


def measure_baseline(folder: Path, measured: NamedImages, training: NamedImages | None, count: int) -> None:
    """Measure how an artifact routes images, and write the result into its folder.

    The new file is complete before the manifest names it. If anything fails, the manifest still names the
    files that it named before, and they are unchanged.

    Args:
        folder: the folder of one version, which holds manifest.json.
        measured: name and images that the model was not trained on.
        training: name and images of the training data, which fill up `measured`; None if there are none. See
            measure_routing.
        count: number of images.

    Raises:
        ConfigError: there are too few images, the model has no mixture layer, or this machine cannot run it.
        CheckpointError: the artifact is damaged.
        DatasetError: an image cannot be read.
    """
    model = open_artifact(folder, None)
    if not model.experts:
        raise ConfigError(f"{folder}: this model has no mixture layer, so there is no routing to measure")
    found = min(count, len(measured[1]) + (len(training[1]) if training else 0))
    if found < LEAST_IMAGES:
        raise ConfigError(
            f"a baseline needs at least {LEAST_IMAGES} images to show a drift, and these are {found}"
        )
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("schema_version") != 2:
        raise ConfigError(f"{path} is of an older schema: export the model again")
    names = [row["name"] for row in manifest["inputs"] if row["role"] == CONTROL]
    graph = Graph(model.run, model.input_hw, model.resize, model.controls, model.top_ks, names)
    routing = measure_routing(graph, measured, training, count)
    baseline = manifest.get("baseline") or {"data": measured[0], "images": len(measured[1])}
    old = {baseline["routing"]["file"]} if "routing" in baseline else set()
    # Another name than the old file's, which the old manifest needs until it is replaced.
    file = next(each for each in (ROUTING_FILE, f"other_{ROUTING_FILE}") if each not in old)
    routing.write(folder / file)
    manifest["baseline"] = baseline | {"routing": routing.rows() | {"file": file}}
    kept = {each: digest for each, digest in manifest["files"].items() if each not in old}
    manifest["files"] = dict(sorted({**kept, file: sha256_of(folder / file)}.items()))
    check_manifest(manifest, str(path))
    write_atomically(path, json.dumps(manifest, indent=2) + "\n")
    # Triton's files hold the manifest.
    write_all_configs(folder.parent.parent, TritonOptions(), name=manifest["name"])
    for each in old:
        (folder / each).unlink(missing_ok=True)
    images = routing.sets.shape[1]
    log.info(f"{folder}: the baseline is now {images} images of {routing.data}; let the service reload it")
