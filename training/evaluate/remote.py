"""Detections of a running service, to compare its mAP with the checkpoint's."""

from types import TracebackType
from typing import Self

import httpx
import numpy as np

from training.errors import TrainingError
from training.evaluate.detections import DetectConfig, Detections


class ServiceError(TrainingError):
    """The service cannot be reached, or refused a request; the message quotes the service."""


class RemoteDetector:
    """A client that sends images to `POST /detect` of one service."""

    def __init__(
        self,
        url: str,
        class_names: tuple[str, ...],
        config: DetectConfig,
        model: str | None,
        backend: str | None = None,
    ) -> None:
        """Prepare requests for this model and backend; None: the service chooses.

        Raises:
            ServiceError: `url` is not an address.
        """
        self._class_ids = {name: index for index, name in enumerate(class_names)}
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def detect(self, encoded: bytes) -> Detections:
        """Return the service's detections for one encoded image.

        Raises:
            ServiceError: the service does not answer, answers with an error, or finds a class that the data
                set lacks.
        """
        headers = {"content-type": "application/octet-stream"}
        try:
            response = self._client.post("/detect", params=self._query, content=encoded, headers=headers)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"no answer from {self._client.base_url}: {error}; is the service running?"
            ) from error
        if response.status_code != httpx.codes.OK:
            raise ServiceError(f"{self._client.base_url} answered {response.status_code}: {response.text}")
        try:
            found = response.json()["predictions"]
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._client.base_url} answered something other than detections: {response.text[:200]}"
            ) from error
        centers = np.array([[p["x"], p["y"]] for p in found], dtype=np.float32).reshape(-1, 2)
        sizes = np.array([[p["width"], p["height"]] for p in found], dtype=np.float32).reshape(-1, 2)
        try:
            class_ids = [self._class_ids[p["class"]] for p in found]
        except KeyError as error:
            raise ServiceError(f"the service knows a class that the data set does not: {error}") from error
        return Detections(
            boxes_xyxy=np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1),
            scores=np.array([p["confidence"] for p in found], dtype=np.float32),
            class_ids=np.array(class_ids, dtype=np.int64),
        )
