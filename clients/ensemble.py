"""What a `-detect` ensemble is sent, and what its answer means. No network here.

The ensemble runs the model and then non-maximum suppression, so a direct client needs only the letterbox.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.errors import ManifestMismatch
from clients.letterbox import Letterbox
from clients.manifest import Manifest, MixtureLayer
from clients.parameters import Options
from clients.types import Detections, ExpertActivation, ModelRef

Tensors = Mapping[str, NDArray[Any]]
"""Inputs or outputs of a model, by name."""


@dataclass(frozen=True)
class Question:
    """One image, ready to be sent, and what is needed to read the answer."""

    manifest: Manifest
    options: Options
    letterbox: Letterbox
    image_hw: tuple[int, int]
    tensors: Tensors


def ensemble_name(model: str, target: str) -> str:
    """Return the name under which Triton serves the ensemble."""
    return f"{model}-{target}-detect"


def output_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the outputs that the ensemble has."""
    return ("boxes", "scores", "class_ids", *(("gates", "router_probs") if manifest.mixture else ()))


def ask(image: NDArray[np.uint8], options: Options, manifest: Manifest) -> Question:
    """Letterbox (H, W, 3) RGB and put the options beside it."""
    image_hw = image.shape[0], image.shape[1]
    letterbox = Letterbox.fit(image_hw, manifest.input_hw)
    # The ensemble knows nothing of classes. So that those not wanted take no place among the best max_det,
    # all that there can be are fetched, and cut to max_det after they are gone.
    max_det = options.max_det if options.class_ids is None else manifest.candidates
    tensors: dict[str, NDArray[Any]] = {
        "images": letterbox.apply(image, manifest.input_hw, manifest.pad_value),
        "conf": np.array([options.conf], dtype=np.float32),
        "iou": np.array([options.iou], dtype=np.float32),
        "max_det": np.array([max_det], dtype=np.int32),
    }
    if options.top_k is not None:
        tensors["top_k"] = np.array([[options.top_k]], dtype=np.int64)
    if options.weight_threshold is not None:
        tensors["weight_threshold"] = np.array([[options.weight_threshold]], dtype=np.float32)
    return Question(manifest, options, letterbox, image_hw, tensors)


def read_answer(question: Question, outputs: Tensors) -> Detections:
    """Map the ensemble's outputs to detections in source pixels and to what the experts did.

    Raises:
        ManifestMismatch: an output is missing, or does not fit the manifest.
    """
    manifest, options = question.manifest, question.options
    _check(outputs, manifest)
    class_ids = outputs["class_ids"].astype(np.int64)
    kept = np.arange(len(class_ids))
    if options.class_ids is not None:
        kept = np.flatnonzero(np.isin(class_ids, sorted(options.class_ids)))[: options.max_det]
    boxes = outputs["boxes"][kept].astype(np.float32)
    return Detections(
        model=ModelRef(manifest.name, manifest.version, manifest.sha256, "triton", manifest.precision),
        image_hw=question.image_hw,
        boxes_xyxy=question.letterbox.to_source(boxes, question.image_hw),
        scores=outputs["scores"][kept].astype(np.float32),
        class_ids=class_ids[kept],
        class_names=tuple(manifest.class_names[i] for i in class_ids[kept]),
        experts=tuple(_activation(layer, outputs) for layer in manifest.mixture),
        top_k=options.top_k,
        routing=manifest.routing,
    )


def _check(outputs: Tensors, manifest: Manifest) -> None:
    model = ensemble_name(manifest.name, manifest.target)
    missing = [name for name in output_names(manifest) if name not in outputs]
    if missing:
        raise ManifestMismatch(model, f"the answer lacks {', '.join(missing)}")
    class_ids = outputs["class_ids"]
    n = class_ids.size
    want: dict[str, tuple[int, ...]] = {"boxes": (n, 4), "scores": (n,), "class_ids": (n,)}
    if manifest.mixture:
        rows, most = len(manifest.mixture), max(layer.num_experts for layer in manifest.mixture)
        want |= {"gates": (1, rows, most), "router_probs": (1, rows, most)}
    for name, shape in want.items():
        if outputs[name].shape != shape:
            raise ManifestMismatch(model, f"{name} has the shape {outputs[name].shape}, not {shape}")
    if n and not 0 <= class_ids.min() <= class_ids.max() < len(manifest.class_names):
        raise ManifestMismatch(model, f"a class id is not one of {len(manifest.class_names)} classes")


def _activation(layer: MixtureLayer, outputs: Tensors) -> ExpertActivation:
    gate = outputs["gates"][0, layer.row, : layer.num_experts]  # (E,)  0: not chosen
    probabilities = outputs["router_probs"][0, layer.row, : layer.num_experts].astype(np.float64)
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
