"""Engines for tests of exported graphs, and letterboxed images for which routers choose different experts."""

import numpy as np
import onnx
import onnx.numpy_helper
import torch

from tests.training_builders import diverse_images
from training.export.proof.onnxruntime_engine import OnnxRuntimeEngine
from training.export.proof.openvino_engine import OpenVinoEngine


def canvases(count=6):
    """Return images (64, 64, 3) uint8, always the same ones."""
    torch.manual_seed(5)
    return list(diverse_images(count).numpy())


def openvino(proto, folder):
    """Return a graph in OpenVINO, loaded as the exporter loads it for its comparison."""
    onnx.save(proto, folder / "model.onnx")
    return OpenVinoEngine(folder / "model.onnx")


def onnxruntime(proto, folder):
    """Return a graph in ONNX Runtime."""
    onnx.save(proto, folder / "other.onnx")
    return OnnxRuntimeEngine(folder / "other.onnx", threads=1)


def ask(engine, canvases, controls):
    """Return the outputs by name for letterboxed images (H, W, 3), with controls for each image."""
    values = {
        "images": np.stack(canvases),
        "top_k": np.array([[each.top_k] for each in controls], dtype=np.int64),
        "weight_threshold": np.array([[each.weight_threshold] for each in controls], dtype=np.float32),
    }
    return engine.run(values)


def run_in(name, proto, folder):
    """Return a graph in the engine of this name."""
    return openvino(proto, folder) if name == "OpenVINO" else onnxruntime(proto, folder)


ENGINES = ("OpenVINO", "ONNX Runtime")


def poisoned(proto, place, expert):
    """Return the graph with NaN in every weight of one expert."""
    room, level = place.split(".")
    prefix = f"model.{room}.mixtures.{level}.experts.{expert}."
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(proto)
    weights = [weight for weight in spoilt.graph.initializer if weight.name.startswith(prefix)]
    assert weights, f"the graph has no weight called {prefix}…"
    for weight in weights:
        values = np.full_like(onnx.numpy_helper.to_array(weight), np.nan)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return spoilt
