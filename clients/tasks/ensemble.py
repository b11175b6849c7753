"""Find objects with Triton's ensemble `<model>-<target>-detect`, for all tasks that find objects.

The ensemble runs the graph and then non-maximum suppression (NMS). It answers in pixels of the model input.
So a client that calls Triton directly only resizes the image, and maps the answer back to the source image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter, ManifestMismatch
from ..facts import Facts
from ..letterbox import Letterbox
from ..manifest import Manifest
from ..parameters import class_ids, confidences, resolve_controls, share, whole
from ..tensors import Canvas, Tensors, check, common, graph_inputs, graph_name, routing_outputs, rows_of
from .boxes import BoxParams

_MOST_DETECTIONS = 10_000  # highest max_det; the service has the same limit
# Tensors that the ensemble has in addition to the graph's tensors.
_CONF, _IOU, _MAX_DET = "conf", "iou", "max_det"
_BOXES, _SCORES, _CLASS_IDS = "boxes", "scores", "class_ids"


@dataclass(frozen=True)
class Defaults:
    """The settings in a manifest for finding objects, such as default parameters."""

    conf: float
    iou: float
    max_det: int
    candidates: int  # maximum number of boxes that the model returns for one image

    @classmethod
    def of(cls, manifest: Manifest, *roles: str) -> "Defaults":
        """Return the settings in a manifest for finding objects.

        Args:
            manifest: manifest of the model.
            roles: roles of the outputs that the task needs besides boxes.

        Raises:
            ValueError: a setting, or an output that the task needs, is missing or invalid.
        """
        for role in ("boxes_xyxy", *roles):
            manifest.output(role)
        routing_outputs(manifest)
        if manifest.resize.mode != "letterbox":
            mode, task = manifest.resize.mode, manifest.task
            raise ValueError(f"inputs: resize.mode is {mode!r}; the task {task!r} needs letterbox")
        settings = Facts(dict(manifest.task_settings), "task_settings.")
        defaults = settings.part("defaults")
        return cls(
            conf=defaults.share("conf"),
            iou=defaults.share("iou"),
            max_det=defaults.whole("max_det", 1),
            candidates=settings.whole("candidates", 1),
        )


class Found(NamedTuple):
    """The objects of one answer that the client reports."""

    fields: dict[str, Any]  # of Detections
    rows: NDArray[np.int64]  # (N,) their rows in the ensemble's outputs


@dataclass(frozen=True, kw_only=True)
class EnsembleQuestion:
    """A request to Triton's ensemble with one image; a subclass for each task reads the answer."""

    manifest: Manifest
    canvas: Canvas
    conf: float
    class_conf: Mapping[int, float]  # lowest scores of single classes, by id, instead of `conf`
    iou: float
    max_det: int
    candidates: int
    class_ids: frozenset[int] | None  # None: all
    controls: Mapping[str, float]

    @property
    def model(self) -> str:
        """Return the name of the ensemble in Triton."""
        return graph_name(self.manifest.name, self.manifest.target) + "-detect"

    @property
    def parameters(self) -> Mapping[str, int]:
        """Return the request parameters other than tensors."""
        return {}

    @property
    def letterbox(self) -> Letterbox:
        """Return the position of the image in the model input."""
        assert isinstance(self.canvas.letterbox, Letterbox)  # Defaults.of has checked resize.mode
        return self.canvas.letterbox

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs to fetch, which hold the objects and the routing."""
        routing = (tensor.name for tensor in routing_outputs(self.manifest))
        return (_BOXES, _SCORES, _CLASS_IDS, *self.own_outputs(0), *routing)

    @cached_property
    def tensors(self) -> Tensors:
        """Return the ensemble's inputs by name: all inputs of the graph, and conf, iou and max_det."""
        # The ensemble does not distinguish classes. With a class filter, or scores for single classes, the
        # client therefore fetches every detection, filters, and only then keeps the best max_det.
        plain = self.class_ids is None and not self.class_conf
        max_det = self.max_det if plain else self.candidates
        return {
            **graph_inputs(self.manifest, self.canvas, self.controls),
            _CONF: np.array([min([self.conf, *self.class_conf.values()])], dtype=np.float32),
            _IOU: np.array([self.iou], dtype=np.float32),
            _MAX_DET: np.array([max_det], dtype=np.int32),
        }

    def own_outputs(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the NumPy dtype and shape, for `count` objects, of each output that only this task has."""
        return {}

    def found(self, outputs: Tensors) -> Found:
        """Return the objects that pass the filters, with boxes in source pixels and inside the image.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """
        self._check(outputs)
        ids = outputs[_CLASS_IDS].astype(np.int64)
        wanted = np.ones(len(ids), bool) if self.class_ids is None else np.isin(ids, sorted(self.class_ids))
        lowest = np.array([self.class_conf.get(each, self.conf) for each in ids.tolist()], dtype=np.float32)
        rows = np.flatnonzero(wanted & (outputs[_SCORES] >= lowest))[: self.max_det]
        fields = {
            **common(self.manifest, self.canvas, self.controls, outputs),
            "boxes_xyxy": self.letterbox.to_source(outputs[_BOXES][rows], self.canvas.image_hw),
            "scores": outputs[_SCORES][rows],
            "class_ids": ids[rows],
            "class_names": tuple(self.manifest.class_names[i] for i in ids[rows]),
        }
        return Found(fields, rows)

    def unclipped_boxes(self, outputs: Tensors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the boxes of `rows`, (N, 4) in source pixels, not clipped to the image.

        Call `found` first, because it checks `outputs`.
        """
        corners: NDArray[np.float32] = outputs[_BOXES][rows].reshape(-1, 2, 2)
        return self.letterbox.points_to_source(corners).reshape(-1, 4)

    def _check(self, outputs: Tensors) -> None:
        class_ids = outputs.get(_CLASS_IDS, np.zeros(0))
        n, classes = class_ids.size, len(self.manifest.class_names)
        rows = {_BOXES: ("float32", (n, 4)), _SCORES: ("float32", (n,)), _CLASS_IDS: ("int32", (n,))}
        rows |= {**self.own_outputs(n), **rows_of(routing_outputs(self.manifest))}
        check(outputs, rows, self.model)
        if n and not 0 <= class_ids.min() <= class_ids.max() < classes:
            raise ManifestMismatch(self.model, f"the answer has a class id outside 0..{classes - 1}")


def question_fields(
    params: BoxParams, image: bytes | NDArray[Any], manifest: Manifest, *roles: str
) -> dict[str, Any]:
    """Return the fields of EnsembleQuestion, with the model's defaults for missing parameters.

    Args:
        params: the parameters of the call.
        image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
        manifest: manifest of the model.
        roles: roles of the outputs of the graph that the task needs besides boxes.

    Raises:
        BadImage: the file cannot be decoded, or the array is no image.
        BadParameter: a value is out of range, the call names a class or control that the model lacks, or
            agnostic_nms is true; the ensemble can only suppress boxes of the same class.
        ManifestMismatch: the manifest lacks an entry that the task needs, or an entry is invalid.
    """
    try:
        defaults = Defaults.of(manifest, *roles)
    except ValueError as error:
        raise mismatch(manifest, error) from error
    if params.agnostic_nms:
        sentence = "agnostic_nms needs the service; Triton's model for suppression compares single classes"
        raise BadParameter("agnostic_nms", sentence)
    for_all, class_conf = confidences(params.conf, manifest.class_names)
    return {
        "manifest": manifest,
        "canvas": Canvas.of(image, manifest),
        "conf": defaults.conf if for_all is None else for_all,
        "class_conf": class_conf,
        "iou": defaults.iou if params.iou is None else share("iou", params.iou),
        "max_det": defaults.max_det
        if params.max_det is None
        else whole("max_det", params.max_det, _MOST_DETECTIONS),
        "candidates": defaults.candidates,
        "class_ids": None if params.classes is None else class_ids(params.classes, manifest.class_names),
        "controls": resolve_controls(params.controls, manifest),
    }


def mismatch(manifest: Manifest, error: ValueError) -> ManifestMismatch:
    """Return the error for a manifest in which an entry that the task needs is missing or invalid."""
    return ManifestMismatch(graph_name(manifest.name, manifest.target), str(error))
