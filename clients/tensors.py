"""Build a model's input tensors, and check its output tensors against its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .center_crop import center_crop
from .errors import ManifestMismatch
from .facts import Facts
from .image import read_image
from .letterbox import Letterbox
from .manifest import Manifest, MixtureLayer, Tensor
from .reduced_jpeg import Fit
from .types import Common, ExpertActivation, ModelRef, PathTaken

# L mixture layers · E experts of one of them · Emax experts of the widest

Tensors = Mapping[str, NDArray[Any]]
"""Inputs or outputs of a model, by name."""

NUMPY = {"u8": "uint8", "i32": "int32", "i64": "int64", "f16": "float16", "f32": "float32", "bool": "bool"}
"""NumPy's dtype name for each dtype name of a manifest."""

GATES, ROUTER_PROBS, PATH_PROBS = "gates", "router_probs", "path_probs"  # roles

R_co = TypeVar("R_co", covariant=True)


class Question(Protocol[R_co]):
    """A request to Triton with one image, and the parameters that are needed to read the answer."""

    @property
    def model(self) -> str:
        """Return the name of the Triton model to run."""

    @property
    def tensors(self) -> Tensors:
        """Return the input tensors, by name."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """Return the request parameters other than tensors; most requests have none."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs to fetch."""

    def read(self, outputs: Tensors) -> R_co:
        """Return the result, read from the output tensors.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """


class Params(Protocol[R_co]):
    """The parameters of a call for one task, with methods that build the request and read the answer."""

    @property
    def task(self) -> str:
        """Return the task's name, as in a manifest."""

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> Question[R_co]:
        """Return the request to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
            BadParameter: the model does not accept the value of a parameter.
            ManifestMismatch: the manifest lacks an entry that the task needs, or an entry is invalid.
        """

    def query(self) -> dict[str, str | float]:
        """Return these parameters as the query of `POST /detect`; leave out parameters that are None."""

    def read(self, answer: Facts) -> R_co:
        """Return the result, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the answer has the predictions of another task.
        """


@dataclass(frozen=True)
class Canvas:
    """An image that has been resized to the model input (canvas)."""

    image_hw: tuple[int, int]
    letterbox: Letterbox | None  # None: the image was centre-cropped
    pixels: NDArray[np.uint8]  # (1, H, W, 3)

    @classmethod
    def of(cls, image: bytes | NDArray[Any], manifest: Manifest) -> "Canvas":
        """Resize an image file or an array to the model input, in the way that the manifest specifies.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
        """
        input_hw, resize = manifest.input_hw, manifest.resize
        if resize.mode == "center_crop":
            read = read_image(image, Fit(input_hw, "center_crop"))
            return cls(read.source_hw, None, center_crop(read.pixels, input_hw, read.reduced))
        read = read_image(image, Fit(input_hw, "letterbox"))
        letterbox = Letterbox.fit(read.source_hw, input_hw)
        pixels = letterbox.apply(read.pixels, input_hw, resize.pad_value, read.reduced)
        return cls(read.source_hw, letterbox, pixels)


def graph_name(model: str, target: str) -> str:
    """Return the name under which Triton serves a model's graph."""
    return f"{model}-{target}"


def graph_inputs(
    manifest: Manifest, canvas: Canvas, controls: Mapping[str, float]
) -> dict[str, NDArray[Any]]:
    """Return the inputs of the graph by name: the resized image, and an array (1, 1) for each control."""
    return {
        manifest.images.name: canvas.pixels,
        **{
            name: np.array([[controls[name]]], dtype=NUMPY[control.tensor.dtype])
            for name, control in manifest.controls.items()
        },
    }


def routing_outputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the outputs that say which experts ran.

    These are gates and router_probs, and path_probs of a model with paths; () if the model has no mixture
    layers.
    """
    if not manifest.mixture:
        return ()
    further = (manifest.output(PATH_PROBS),) if manifest.routing == "path" else ()
    return (manifest.output(GATES), manifest.output(ROUTER_PROBS), *further)


def check(outputs: Tensors, rows: Mapping[str, tuple[str, tuple[int, ...]]], model: str) -> None:
    """Check that an answer has every output, with the right NumPy dtype and shape.

    Args:
        outputs: the answer's tensors, by name.
        rows: the expected NumPy dtype and shape of each output, by name.
        model: name of the model, to use in the error.

    Raises:
        ManifestMismatch: an output is missing, or has another dtype or shape; the message names it.
    """
    missing = [name for name in rows if name not in outputs]
    if missing:
        raise ManifestMismatch(model, f"the answer lacks {', '.join(missing)}")
    for name, (dtype, shape) in rows.items():
        got = outputs[name]
        if got.shape != shape:
            raise ManifestMismatch(model, f"{name} has the shape {got.shape}, not {shape}")
        if str(got.dtype) != dtype:
            raise ManifestMismatch(model, f"{name} has the type {got.dtype}, not {dtype}")


def rows_of(tensors: tuple[Tensor, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the NumPy dtype and the shape of each tensor by name, for a batch of one image."""
    return {tensor.name: (NUMPY[tensor.dtype], tensor.shape(1)) for tensor in tensors}


def common(manifest: Manifest, canvas: Canvas, controls: Mapping[str, float], outputs: Tensors) -> Common:
    """Return the fields of an answer that all tasks have; call `check` on `outputs` first."""
    top_k = controls.get("top_k")
    return {
        "model": ModelRef(manifest.name, manifest.version, manifest.sha256, "triton", manifest.precision),
        "image_hw": canvas.image_hw,
        "experts": _experts(manifest, outputs),
        "top_k": None if top_k is None else int(top_k),
        "routing": "static" if manifest.routing == "static" else "normal",  # as the service says it
        "service": None,
        "path": _path(manifest, outputs),
    }


def _path(manifest: Manifest, outputs: Tensors) -> PathTaken | None:
    if manifest.routing != "path":
        return None
    probabilities = outputs[manifest.output(PATH_PROBS).name][0]  # (P,)
    index = int(probabilities.argmax())
    return PathTaken(index, float(probabilities[index]))


def _experts(manifest: Manifest, outputs: Tensors) -> tuple[ExpertActivation, ...]:
    if not manifest.mixture:
        return ()
    roles = (GATES, ROUTER_PROBS)
    gates, probabilities = (outputs[manifest.output(role).name][0] for role in roles)  # (L, Emax) each
    return tuple(_activation(layer, gates, probabilities) for layer in manifest.mixture)


def _activation(layer: MixtureLayer, gates: NDArray[Any], router_probs: NDArray[Any]) -> ExpertActivation:
    gate = gates[layer.row, : layer.num_experts]  # (E,)  0: not chosen
    probabilities = router_probs[layer.row, : layer.num_experts].astype(np.float64)
    active = np.flatnonzero(gate > 0)
    seen = probabilities[probabilities > 0]  # 0 log 0 = 0
    return ExpertActivation(
        layer=layer.layer,
        num_experts=layer.num_experts,
        active=tuple(active.tolist()),
        weights=tuple(gate[active].tolist()),
        probabilities=tuple(probabilities.tolist()),
        entropy_bits=max(0.0, float(-(seen * np.log2(seen)).sum())),
    )
