"""Quantise the graphs of the benchmark to 8 bits: ours as an export does, and those of other projects."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray

from training.data.images.letterbox import letterbox_image
from training.data.scenes.scenes import ScenesDataset
from training.errors import ConfigError
from training.export.contract.precision import Precision
from training.export.contract.spec import Execution, GraphSpec
from training.export.graph.fixed_path import Route, fixed_network
from training.export.graph.path_router import router_to_onnx
from training.export.targets.build import ExportImages, Source
from training.export.targets.openvino import OPENVINO
from training.export.targets.options import ExportOptions
from training.export.targets.paths import CALIBRATING
from training.lab.benchmark.engines import Inputs
from training.models.network import Network
from training.signal_stack import own_signal_stack

# Generated scenes; their number does not change which nodes are in 8 bits. An export too calibrates a route
# on all of its images, if these are not more than CALIBRATING.
IMAGES = CALIBRATING
SCENES_SEED = 11
MODEL_FILE = "model.xml"


def scenes(count: int) -> list[NDArray[np.uint8]]:
    """Return images (H, W, 3) to calibrate graphs on."""
    dataset = ScenesDataset(count, seed=SCENES_SEED, image_hw=(384, 512))
    return [dataset.load(index).image for index in range(len(dataset))]


def export_source(
    model: Network, execution: Execution, precision: Precision = "int8", images: int = IMAGES
) -> tuple[GraphSpec, Source]:
    """Return what OpenVINO's export of a model is built from, with a number of images for calibration."""
    options = ExportOptions(precision=precision, execution=execution)
    spec = OPENVINO.spec(bool(model.config.mixtures), options)
    return spec, Source(model, options, ExportImages((), (), calibration=scenes(images)))


def quantize(model: Network, execution: Execution, folder: Path, max_batch: int = 1) -> Path:
    """Write the graph of an export in int8 into a new folder, and return the graph's path."""
    spec, source = export_source(model, execution)
    folder.mkdir()
    with silent():
        return OPENVINO.build(folder, replace(spec, max_batch=max_batch), source)


def quantize_route(model: Network, route: Route, folder: Path, max_batch: int = 1) -> Path:
    """Write the network of a route in int8, and the router in float32, as one graph."""
    alone = quantize(fixed_network(model, route), "dense", folder, max_batch)
    onnx_path, both = folder / "router.onnx", folder / "both.xml"
    onnx.save(router_to_onnx(model, GraphSpec("dense", "graph", max_batch=max_batch)), onnx_path)
    core = ov.Core()
    fixed, router = core.read_model(alone), core.read_model(onnx_path)
    for reader in router.input(0).get_target_inputs():
        reader.replace_source_output(fixed.input(0).get_node().output(0))
    whole = ov.Model([*fixed.get_results(), *router.get_results()], fixed.get_parameters())
    ov.save_model(whole, both, compress_to_fp16=False)
    return both


def quantize_peer(path: Path, inputs: Inputs, folder: Path) -> Path:
    """Write another project's ONNX model in 8 bits, with the preset that is usual for detectors.

    Args:
        path: the ONNX file.
        inputs: one run's inputs by name, whose shapes and types the calibration images get.
        folder: a new folder.

    Raises:
        ConfigError: an input is not an image, or NNCF cannot quantise the model.
    """
    import nncf

    samples = [
        {name: _like(image, values, path) for name, values in inputs.items()} for image in scenes(IMAGES)
    ]
    folder.mkdir()
    nncf.set_log_level(40)  # errors
    try:
        model = ov.Core().read_model(path)
        if model.is_dynamic():
            model.reshape({name: values.shape for name, values in inputs.items()})
        with silent(), own_signal_stack():
            quantized = nncf.quantize(
                model,
                nncf.Dataset(samples),
                preset=nncf.QuantizationPreset.MIXED,  # as for our graphs
                subset_size=len(samples),
            )
    except Exception as error:  # NNCF's errors have no common type, and a peer can hold anything
        said = " ".join(str(error).split())
        raise ConfigError(f"NNCF cannot quantise the peer {path}: {said}") from error
    ov.save_model(quantized, folder / MODEL_FILE, compress_to_fp16=False)
    return folder / MODEL_FILE


def _like(image: NDArray[np.uint8], values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return an image as an input of the shape and type of `values`; float inputs are 0..1."""
    last = values.ndim == 4 and values.shape[3] == 3
    if not last and (values.ndim != 4 or values.shape[1] != 3):
        raise ConfigError(f"{path}: an input of shape {values.shape} is no image to calibrate int8 on")
    height, width = values.shape[1:3] if last else values.shape[2:]
    pixels, _ = letterbox_image(image, (height, width))
    pixels = pixels if last else pixels.transpose(2, 0, 1)
    scaled = pixels if values.dtype == np.uint8 else pixels / 255
    return np.broadcast_to(scaled, values.shape).astype(values.dtype)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the progress bars of NNCF from the output, which is the benchmark's table."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
