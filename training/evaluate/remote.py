"""Detections of a running service, to compare the served model's mAP with its checkpoint's."""

from typing import Any

import httpx
import numpy as np

from training.errors import TrainingError
from training.evaluate.detections import DetectConfig, Detections


class ServiceError(TrainingError):
    """The service cannot be reached, or refused a request; the message quotes the service."""


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
        self._class_ids: dict[str, int] = {}  # of the model's classes; empty: class_names was not called
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
            self._client = httpx.Client(base_url=url, timeout=60)
        except httpx.InvalidURL as error:
            raise ServiceError(f"{url!r} is not an address: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def class_names(self) -> tuple[str, ...]:
        """Return the model's class names from `GET /models`; `detect` returns class ids in this order.

        Raises:
            ServiceError: the service does not answer, answers with an error, or serves no such model.
        """
        response = self._answer("GET", "/models")
        try:
            listed = response.json()
            name = self._query.get("model", listed["default"])
            served = {each["name"]: tuple(each["classes"]) for each in listed["models"]}
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._client.base_url} answered something other than its models: {response.text[:200]}"
            ) from error
        if name not in served:
            raise ServiceError(
                f"{self._client.base_url} serves no model {name}; there are: {', '.join(served)}"
            )
        self._class_ids = {each: index for index, each in enumerate(served[name])}
        return served[name]

    def detect(self, encoded: bytes) -> Detections:
        """Return the service's detections for one encoded image; the caller must call class_names before.

        Raises:
            ServiceError: the service does not answer, answers with an error, or detects a class that is not
                in class_names.
        """
        headers = {"content-type": "application/octet-stream"}
        response = self._answer("POST", "/detect", params=self._query, content=encoded, headers=headers)
        try:
            found = response.json()["predictions"]
            places = [[each[side] for side in ("x", "y", "width", "height")] for each in found]
            scores = np.array([each["confidence"] for each in found], dtype=np.float32)
            names = [each["class"] for each in found]
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._client.base_url} answered something other than detections: {response.text[:200]}"
            ) from error
        centers, sizes = np.split(np.array(places, dtype=np.float32).reshape(-1, 4), 2, axis=1)
        boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
        try:
            class_ids = np.array([self._class_ids[name] for name in names], dtype=np.int64)
        except KeyError as error:
            raise ServiceError(
                f"the service found a class that its list of models does not state: {error}; was the model "
                "replaced during the measurement? Measure again"
            ) from error
        return Detections(boxes, scores, class_ids)

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
