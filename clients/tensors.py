"""What a model is sent and what it sends back, by the rows of its manifest. No network here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .center_crop import center_crop
from .errors import ManifestMismatch
from .facts import Facts
from .letterbox import Letterbox
from .manifest import Manifest, MixtureLayer, Tensor
from .types import Common, ExpertActivation, ModelRef

# L mixture layers · E experts of one of them · Emax experts of the widest

Tensors = Mapping[str, NDArray[Any]]
"""Inputs or outputs of a model, by name."""

NUMPY = {"u8": "uint8", "i32": "int32", "i64": "int64", "f16": "float16", "f32": "float32", "bool": "bool"}
"""A manifest's names of types to NumPy's."""

GATES, ROUTER_PROBS = "gates", "router_probs"  # roles

R_co = TypeVar("R_co", covariant=True)


class Question(Protocol[R_co]):
    """One image, ready to be sent, and what is needed to read the answer."""

    @property
    def model(self) -> str:
        """Return the name of the model that Triton is to run."""

    @property
    def tensors(self) -> Tensors:
        """Return the inputs."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs to fetch."""

    def read(self, outputs: Tensors) -> R_co:
        """Map the outputs to a result.

        Raises:
            ManifestMismatch: an output is missing, or does not fit the manifest.
        """


class Params(Protocol[R_co]):
    """What a call of one task asks for."""

    @property
    def task(self) -> str:
        """Return the task's name, as in a manifest."""

    def ask(self, image: NDArray[np.uint8], manifest: Manifest) -> Question[R_co]:
        """Bring (H, W, 3) RGB onto the canvas and fill in the model's defaults.

        Raises:
            BadParameter: the model cannot take a value.
            ManifestMismatch: the manifest lacks what the task needs.
        """

    def query(self) -> dict[str, str | float]:
        """Return the parameters of `POST /detect`."""

    def read(self, answer: Facts) -> R_co:
        """Read the service's answer.

        Raises:
            ValueError: a member is missing, or has another type.
        """


@dataclass(frozen=True)
class Canvas:
    """An image on the model's canvas."""

    image_hw: tuple[int, int]
    letterbox: Letterbox | None  # None: the centre was cut out
    pixels: NDArray[np.uint8]  # (1, H, W, 3)

    @classmethod
    def of(cls, image: NDArray[np.uint8], manifest: Manifest) -> "Canvas":
        """Resize (H, W, 3) as the manifest says."""
        image_hw = image.shape[0], image.shape[1]
        if manifest.resize.mode == "center_crop":
            return cls(image_hw, None, center_crop(image, manifest.input_hw))
        letterbox = Letterbox.fit(image_hw, manifest.input_hw)
        return cls(image_hw, letterbox, letterbox.apply(image, manifest.input_hw, manifest.resize.pad_value))


def graph_name(model: str, target: str) -> str:
    """Return the name under which Triton serves the graph, whose configuration holds the manifest."""
    return f"{model}-{target}"


def graph_inputs(
    manifest: Manifest, canvas: Canvas, controls: Mapping[str, float]
) -> dict[str, NDArray[Any]]:
    """Return every input of the graph: the canvas, and a number (1, 1) for each control."""
    return {
        manifest.images.name: canvas.pixels,
        **{
            name: np.array([[controls[name]]], dtype=NUMPY[control.tensor.dtype])
            for name, control in manifest.controls.items()
        },
    }


def routing_outputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the outputs that tell what the experts did; none for a model without mixtures."""
    return (manifest.output(GATES), manifest.output(ROUTER_PROBS)) if manifest.mixture else ()


def check(outputs: Tensors, rows: Mapping[str, tuple[str, tuple[int, ...]]], model: str) -> None:
    """Compare an answer with NumPy's type and the shape that each output must have.

    Raises:
        ManifestMismatch: names the first that is missing or another.
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
    """Return what `check` wants, for one image."""
    return {tensor.name: (NUMPY[tensor.dtype], tensor.shape(1)) for tensor in tensors}


def common(manifest: Manifest, canvas: Canvas, controls: Mapping[str, float], outputs: Tensors) -> Common:
    """Return what every answer has; `outputs` has been checked."""
    top_k = controls.get("top_k")
    return {
        "model": ModelRef(manifest.name, manifest.version, manifest.sha256, "triton", manifest.precision),
        "image_hw": canvas.image_hw,
        "experts": _experts(manifest, outputs),
        "top_k": None if top_k is None else int(top_k),
        "routing": manifest.routing,
        "service": None,
    }


def _experts(manifest: Manifest, outputs: Tensors) -> tuple[ExpertActivation, ...]:
    if not manifest.mixture:
        return ()
    gates, probabilities = (outputs[tensor.name][0] for tensor in routing_outputs(manifest))  # (L, Emax) each
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
