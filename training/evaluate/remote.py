"""Get detections from a running service, to compare the served model's mAP with its checkpoint's mAP."""

import os
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray

from training.config import TaskName
from training.data.augmentation.shapes import boxes_around
from training.data.masks import RunLengths
from training.errors import TrainingError
from training.evaluate.detections import DetectConfig, Detections

KEY_VARIABLE = "SPARSIGHT_API_KEY"


class ServiceError(TrainingError):
    """The service cannot be reached or has refused a request; the message then quotes the service."""


class ServedModel(NamedTuple):
    """A model as `GET /models` lists it."""

    task: TaskName
    class_names: tuple[str, ...]
    keypoints: tuple[str, ...]  # names, in order; empty: the model finds none


class RemoteDetector:
    """A client for the `POST /detect` endpoint of one service."""

    def __init__(
        self,
        url: str,
        config: DetectConfig,
        model: str | None,
        backend: str | None = None,
    ) -> None:
        """Prepare requests for `model` on `backend`; the service chooses the model or backend that is None.

        Raises:
            ServiceError: `url` is not an address.
        """
        self._served: ServedModel | None = None  # None: served_model was not called
        self._query: dict[str, str | float] = {
            "conf": config.conf,
            "iou": config.iou,
            "max_det": config.max_det,
            "moe": "off",
        }
        if model:
            self._query["model"] = model
        if backend:
            self._query["backend"] = backend
        try:
            self._client = httpx.Client(base_url=url, timeout=60, headers=_key_header())
        except httpx.InvalidURL as error:
            raise ServiceError(f"{url!r} is not an address: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def served_model(self) -> ServedModel:
        """Return the model as `GET /models` lists it.

        The class ids that `detect` returns are indices into this model's classes.

        Raises:
            ServiceError: the service does not answer, answers with an error, or serves no such model.
        """
        response = self._answer("GET", "/models")
        try:
            listed = response.json()
            name = self._query.get("model", listed["default"])
            served = {
                each["name"]: ServedModel(
                    each["task"], tuple(each["classes"]), tuple(each.get("keypoints") or ())
                )
                for each in listed["models"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._client.base_url} answered something other than its models: {response.text[:200]}"
            ) from error
        if name not in served:
            raise ServiceError(
                f"{self._client.base_url} serves no model {name}; there are: {', '.join(served)}"
            )
        self._served = served[name]
        if self._served.task == "segment":
            self._query["masks"] = "rle"
        return self._served

    def detect(self, encoded: bytes) -> Detections:
        """Return the service's detections for one encoded image; the caller must call served_model before.

        Raises:
            ServiceError: the service does not answer, answers with an error, or detects a class or keypoints
                that are not the model's.
        """
        assert self._served is not None
        headers = {"content-type": "application/octet-stream"}
        response = self._answer("POST", "/detect", params=self._query, content=encoded, headers=headers)
        try:
            found = response.json()["predictions"]
            places = [[each[side] for side in ("x", "y", "width", "height")] for each in found]
            scores = np.array([each["confidence"] for each in found], dtype=np.float32)
            names = [each["class"] for each in found]
            shapes = _shapes(found, self._served)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceError(
                f"{self._client.base_url} answered something other than detections: {response.text[:200]}"
            ) from error
        centers, sizes = np.split(np.array(places, dtype=np.float32).reshape(-1, 4), 2, axis=1)
        boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
        try:
            class_ids = np.array([self._served.class_names.index(name) for name in names], dtype=np.int64)
        except ValueError as error:
            unknown = sorted(set(names) - set(self._served.class_names))
            raise ServiceError(
                f"the service found a class that its list of models does not state: {unknown}; was the model "
                "replaced during the measurement? Measure again"
            ) from error
        corners = shapes.get("corners")
        extents = boxes if corners is None else boxes_around(corners)  # boxes are those before rotation
        return Detections(extents, scores, class_ids, **shapes)

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"no answer from {self._client.base_url}: {error}; is the service running?"
            ) from error
        if response.status_code != httpx.codes.OK:
            raise ServiceError(f"{self._client.base_url} answered {response.status_code}: {response.text}")
        return response


def _key_header() -> dict[str, str]:
    """Return the header with the service's key, which is in the variable that the service's client reads."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return {"Authorization": f"Bearer {key}"} if key else {}


def _shapes(found: list[dict[str, Any]], served: ServedModel) -> dict[str, Any]:
    """Return the masks, keypoints or corners for Detections.

    Raises:
        ServiceError: the names of an object's keypoints are not those of the served model.
    """
    match served.task:
        case "segment":
            masks = [each["mask"] for each in found]
            return {
                "masks": tuple(
                    RunLengths((int(mask["size"][0]), int(mask["size"][1])), mask["counts"].encode("ascii"))
                    for mask in masks
                )
            }
        case "pose":
            return {"keypoints": _keypoints(found, served.keypoints)}
        case "obb":
            corners = [each["corners"] for each in found]
            return {"corners": np.array(corners, dtype=np.float32).reshape(len(found), 4, 2)}
        case _:
            return {}


def _keypoints(found: list[dict[str, Any]], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return keypoints (N, P, 3); the visibility of each is the confidence that the service gives."""
    for each in found:
        if tuple(point["name"] for point in each["keypoints"]) != names:
            raise ServiceError(
                f"the service found other keypoints than its list of models states, {', '.join(names)}; was "
                "the model replaced during the measurement? Measure again"
            )
    rows = [[(point["x"], point["y"], point["confidence"]) for point in each["keypoints"]] for each in found]
    return np.array(rows, dtype=np.float32).reshape(len(found), len(names), 3)
