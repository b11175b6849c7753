"""Opens a few images of each dataset of the starter, and runs the starter's graph on them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openvino import Core

from service.artifact.manifest import Manifest
from service.artifact.repository import Artifact
from service.explain.attribution import log_odds
from service.explain.grid import Region
from service.pipeline.decode import decode
from service.pipeline.preprocess import Placed, fit_of, preprocess
from training.data.open import open_dataset
from training.recipes.recipe_data import recipe_splits

DATASETS = ("bccd", "aquarium", "playing_cards")
_MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class Sample:
    """One image in the model input."""

    dataset: str
    name: str
    placed: Placed
    region: Region


class Router:
    """The graph of a model on one thread; it returns the routers' probabilities."""

    def __init__(self, artifact: Artifact) -> None:
        """Compile the graph."""
        self.manifest: Manifest = artifact.manifest
        config = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._graph = Core().compile_model(str(artifact.graph), "CPU", config)
        self._controls = {row.name: row.default for row in self.manifest.controls}
        self.runs = 0

    def probabilities(self, canvas: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probabilities of the experts, (layers, experts), for one model input."""
        self.runs += 1
        outputs = self._graph(self.manifest.feed(canvas, self._controls))
        name = self.manifest.output("router_probs").name
        return np.asarray(outputs[name][0], dtype=np.float64)

    def log_odds(self, canvas: NDArray[np.uint8], experts: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the log-odds of one expert of each layer, (layers,)."""
        return log_odds(self.probabilities(canvas)[np.arange(len(experts)), experts])


def open_samples(manifest: Manifest, count: int, dataset: str, *, held_out: bool) -> list[Sample]:
    """Return `count` random images of a dataset, either held out or used to train the starter."""
    splits = recipe_splits("starter", Path(os.environ["SPARSIGHT_DATA"]))
    assert splits is not None
    config = splits.val if held_out else splits.train
    assert config is not None
    part = open_dataset(config)
    paths = [path for path in map(part.path, range(len(part))) if path is not None and dataset in path.parts]
    samples = []
    for i in np.random.default_rng(0).permutation(len(paths))[:count]:
        image = decode(paths[i].read_bytes(), _MAX_PIXELS, None, fit_of(manifest.images))
        placed = preprocess(image.pixels, manifest.images, image.reduced)
        samples.append(Sample(dataset, paths[i].name, placed, Region.of(placed)))
    return samples
