"""An engine for models with paths runs the router once, and each image on the graph of its route."""

import numpy as np
import pytest

from training.errors import ExportError
from training.export.graph.fixed_path import Route
from training.export.proof.margin import router_margin
from training.export.proof.path_engine import PathEngine
from training.models.mixture.routing import RoutingControls

ROUTES = [
    Route(path, top_k, np.full((2, 3), 10 * path + top_k, np.float32), np.full((2, 3), path, np.float32))
    for path in (0, 1)
    for top_k in (1, 2)
]


class Router:
    """Sends bright images on path 1; black ones are a tie."""

    machine = "a small one"

    def run(self, inputs):
        bright = inputs["images"].mean(axis=(1, 2, 3)) / 255
        low, high = 0.5 - bright / 2, 0.5 + bright / 2
        return {"path_probs": np.stack([low, high], axis=1).astype(np.float32)}


class Told:
    """Answers with the first pixel of each image, and notes how many images came together."""

    machine = "a small one"

    def __init__(self):
        self.batches = []

    def run(self, inputs):
        assert list(inputs) == ["images"]
        self.batches.append(len(inputs["images"]))
        return {"scores": inputs["images"][:, 0, 0, :1].astype(np.float32)}


def images(*levels):
    return np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])


def run(engine, pixels, top_ks):
    return engine.run({"images": pixels, "top_k": np.array(top_ks, np.int64)[:, None]})


def test_images_of_one_route_run_together_and_every_answer_stays_with_its_image():
    opened = {}

    def open_route(route):
        return opened.setdefault(route.name, Told())

    engine = PathEngine(Router(), ROUTES, open_route)
    got = run(engine, images(200, 0, 100, 50), [1, 1, 2, 1])
    assert got["scores"][:, 0].tolist() == [200, 0, 100, 50]
    assert got["gates"][:, 0, 0].tolist() == [11, 1, 12, 11], "a tie takes the first path"
    assert got["router_probs"][:, 1, 2].tolist() == [1, 0, 1, 1]
    assert got["gates"].shape == (4, 2, 3)
    assert got["path_probs"].argmax(axis=1).tolist() == [1, 0, 1, 1]
    assert {name: told.batches for name, told in opened.items()} == {
        "path1-k1": [2],
        "path0-k1": [1],
        "path1-k2": [1],
    }
    run(engine, images(200), [1])
    assert len(opened) == 3
    assert opened["path1-k1"].batches == [2, 1], "a graph is opened once"


def test_probabilities_that_are_not_finite_and_a_missing_route_are_errors():
    class Broken(Router):
        def run(self, inputs):
            return {"path_probs": np.full((1, 2), np.nan, np.float32)}

    with pytest.raises(ExportError, match="router's graph returns probabilities that are not finite"):
        run(PathEngine(Broken(), ROUTES, lambda route: Told()), images(0), [1])
    with pytest.raises(ExportError, match="there is no graph for path 0 at top_k 3"):
        run(PathEngine(Router(), ROUTES, lambda route: Told()), images(0), [3])


def test_the_margin_is_the_gap_between_the_two_most_probable_paths():
    outputs = {"path_probs": np.array([[0.2, 0.5, 0.3]], np.float32)}
    assert router_margin(outputs, [4], RoutingControls(2)) == pytest.approx(0.2)
