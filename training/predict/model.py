"""A loaded model that predicts on images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError
from training.evaluate.detections import DetectConfig
from training.export.contract.tensors import Arrays
from training.export.tasks.classify import PROBABILITIES
from training.export.tasks.objects import CLASS_IDS, CLASS_SCORES, SCORES, kept
from training.models.mixture.routing import RoutingControls
from training.predict.open import LoadedModel, path_of, routings
from training.predict.pixels import as_rgb, canvas_of
from training.predict.result import Result


@dataclass(frozen=True)
class Settings:
    """The checked settings of a prediction."""

    controls: RoutingControls
    class_ids: tuple[int, ...]  # the only classes to report
    detect: DetectConfig | None  # None: of a classifier
    top: int  # classes that a classifier reports


class Model:
    """A network of any task; `predict` runs one image at a time."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.name = loaded.name
        self.task = loaded.task
        self.class_names = loaded.class_names

    def __repr__(self) -> str:
        height, width = self._loaded.input_hw
        classes = ", ".join(self.class_names[:8]) + (", …" if len(self.class_names) > 8 else "")
        return f"<{self.task} model {self.name}: input {height} x {width}, classes {classes}>"

    @overload
    def predict(self, images: list[Any] | tuple[Any, ...], **settings: Any) -> list[Result]: ...

    @overload
    def predict(self, images: Any, **settings: Any) -> Result: ...

    def predict(self, images: Any, **settings: Any) -> Result | list[Result]:
        """Return the result of an image, or a list with the result of each image of a list.

        Args:
            images: the path of an image file; a PIL image; a uint8 array with the shape (H, W, 3) for RGB,
                (H, W, 4) for RGBA or (H, W) for grey; or a list of paths, PIL images and arrays.
                OpenCV's arrays are BGR: pass `array[..., ::-1]`.
            settings: the arguments of Model.settings.

        Raises:
            DatasetError: an image cannot be decoded, or is not an image.
            ConfigError: a setting is invalid; the message says what is allowed.
        """
        checked = self.settings(**settings)
        if isinstance(images, list | tuple):
            return [self._run_any(image, checked) for image in images]
        return self._run_any(images, checked)

    def settings(
        self,
        *,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        classes: str | int | Sequence[str | int] | None = None,
        top: int | None = None,
        top_k: int | None = None,
        weight_threshold: float | None = None,
    ) -> Settings:
        """Check settings, and replace None by the model's defaults.

        Args:
            conf: lowest score of a detection, 0..1.
            iou: limit, 0..1. If the IoU of two boxes of a class is higher, the box with the lower score is
                dropped. For oriented boxes, the IoU of the rotated boxes counts.
            max_det: maximum number of detections in an image.
            classes: names or ids of the classes to report; None or empty: all classes.
            top: number of classes that a classifier reports.
            top_k: maximum number of experts that run for an image in each layer.
            weight_threshold: router probability, 0..1, that an expert needs in order to run; a layer's most
                probable expert always runs.

        Raises:
            ConfigError: a setting is invalid or for another task; the message says what is allowed.
        """
        given = {"conf": conf, "iou": iou, "max_det": max_det, "top": top}
        for name, value in given.items():
            if value is not None and name not in self._loaded.defaults:
                raise ConfigError(f"{name} does not apply to a model of task {self.task}: leave it out")
        values = {name: number for name, number in given.items() if number is not None}
        _check_shares({"conf": conf, "iou": iou, "weight_threshold": weight_threshold})
        for name in ("max_det", "top"):
            value = values.get(name, 1)
            if not isinstance(value, Integral) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number from 1")
        values = {**self._loaded.defaults, **values}
        detect = None
        if self._loaded.kind is not None:
            detect = DetectConfig(values["conf"], values["iou"], int(values["max_det"]))
        wanted = [classes] if isinstance(classes, str | int) else classes or ()
        ids = tuple(map(self._class_id, wanted)) or tuple(range(len(self.class_names)))
        return Settings(self._controls(top_k, weight_threshold), ids, detect, int(values.get("top", 0)))

    def _run_any(self, image: Any, settings: Settings) -> Result:
        name, pixels = as_rgb(image)
        return self.run(name, pixels, settings, Path(image) if isinstance(image, str | Path) else None)

    def run(
        self, name: str, image: NDArray[np.uint8], settings: Settings, path: Path | None = None
    ) -> Result:
        """Return the result of an RGB image (H, W, 3).

        Args:
            name: the image's name in the result.
            path: the file of the image; None: the image is not from a file. See canvas_of.

        Raises:
            DatasetError: the file cannot be read any more.
        """
        loaded, started = self._loaded, time.perf_counter()
        canvas = canvas_of(image, path, loaded.input_hw, loaded.resize)
        outputs = loaded.run(canvas, settings.controls)
        objects: dict[str, Any] = {"boxes_xyxy": None}
        if settings.detect is None or loaded.kind is None:
            scores, class_ids = _likeliest(outputs, settings)
        else:
            hw, wanted = (image.shape[0], image.shape[1]), _only(outputs, settings.class_ids)
            found = kept(wanted, hw, loaded.input_hw, settings.detect, loaded.kind)
            scores, class_ids = found.scores, found.class_ids
            objects = {"boxes_xyxy": found.boxes_xyxy, "keypoints": found.keypoints, "corners": found.corners}
            if found.masks is not None:
                objects["masks"] = tuple(runs.mask() for runs in found.masks)
        return Result(
            name=name,
            image=image,
            scores=scores,
            class_ids=class_ids,
            model_classes=self.class_names,
            routings=routings(outputs, loaded.experts),
            path=path_of(outputs),
            seconds=time.perf_counter() - started,
            keypoint_names=loaded.keypoint_names,
            skeleton=loaded.edges,
            **objects,
        )

    def _controls(self, top_k: int | None, threshold: float | None) -> RoutingControls:
        allowed = self._loaded.top_ks
        if not allowed and (top_k, threshold) != (None, None):
            raise ConfigError(
                "this model has no experts to choose from: leave top_k and weight_threshold out"
            )
        if top_k is not None and top_k not in allowed:
            raise ConfigError(f"top_k is {top_k}; this model runs with {', '.join(map(str, allowed))}")
        own = self._loaded.controls
        return RoutingControls(
            own.top_k if top_k is None else top_k, own.weight_threshold if threshold is None else threshold
        )

    def _class_id(self, wanted: str | int) -> int:
        if wanted in self.class_names:
            return self.class_names.index(str(wanted))
        if str(wanted).isdecimal() and int(wanted) < len(self.class_names):
            return int(wanted)
        raise ConfigError(f"the model knows no class {wanted!r}; it knows {', '.join(self.class_names)}")


def _check_shares(values: dict[str, float | None]) -> None:
    for name, value in values.items():
        if value is not None and not (isinstance(value, Real) and 0 <= value <= 1):  # NaN fails too
            raise ConfigError(f"{name} is {value!r}; it must be a number from 0 to 1")


def _only(outputs: Arrays, class_ids: Sequence[int]) -> Arrays:
    """Return a detector's outputs, with score -1 for candidates of classes that are not in `class_ids`."""
    if SCORES in outputs:
        wanted = np.isin(outputs[CLASS_IDS], class_ids)
        return {**outputs, SCORES: np.where(wanted, outputs[SCORES], np.float32(-1))}
    wanted = np.isin(np.arange(outputs[CLASS_SCORES].shape[-1]), class_ids)
    return {**outputs, CLASS_SCORES: np.where(wanted, outputs[CLASS_SCORES], np.float32(-1))}


def _likeliest(outputs: Arrays, settings: Settings) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the highest probabilities and their class ids; for equal probabilities, the lowest id first."""
    probabilities = outputs[PROBABILITIES][0]
    ids = np.array(sorted(settings.class_ids), dtype=np.int64)
    best = ids[np.argsort(-probabilities[ids], kind="stable")[: settings.top]]
    return probabilities[best], best
