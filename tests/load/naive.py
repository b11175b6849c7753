"""A detection endpoint as an engineer writes it in an afternoon; the load tests compare the service with it.

    export ARTIFACT=model_repository/starter-openvino/1
    .venv/bin/python -m uvicorn --factory tests.load.naive:create_app

It imports nothing of the service, so that what the service does to be fast cannot leak into it.
"""

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from fastapi import FastAPI, Request
from numpy.typing import NDArray

# The service runs graphs in the precision that their artifacts state, and lets the kernel place the threads.
ENGINE = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}


class Detector:
    """A compiled detection graph whose artifact names the inputs, with their defaults."""

    def __init__(self, artifact: Path) -> None:
        manifest = json.loads((artifact / "manifest.json").read_text())
        images, *controls = manifest["inputs"]
        self.size_hw: tuple[int, int] = (images["dims"][1], images["dims"][2])
        self.pad_value: int = images["resize"]["pad_value"]
        dtypes = {"i64": np.int64, "f32": np.float32}
        self.controls = {row["name"]: np.array([[row["default"]]], dtypes[row["dtype"]]) for row in controls}
        self.graph = artifact / manifest["graphs"][0]["file"]
        self.class_names: list[str] = manifest["class_names"]
        self.defaults: dict[str, Any] = manifest["task_settings"]["defaults"]
        self._compiled: ov.CompiledModel | None = None

    def compile(self, engine: dict[str, Any] | None = None) -> ov.CompiledModel:
        """Return the graph, compiled for the CPU, by default with the settings that OpenVINO chooses."""
        return ov.Core().compile_model(self.graph, "CPU", ENGINE | (engine or {}))

    def inputs(self, jpeg: bytes) -> tuple[dict[str, NDArray[Any]], float, int, int]:
        """Return the graph's inputs for an image, and scale, left and top of the image in the model input."""
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        scale = min(self.size_hw[0] / height, self.size_hw[1] / width)
        resized = cv2.resize(image, (round(width * scale), round(height * scale)))
        top, left = (self.size_hw[0] - resized.shape[0]) // 2, (self.size_hw[1] - resized.shape[1]) // 2
        bottom, right = self.size_hw[0] - resized.shape[0] - top, self.size_hw[1] - resized.shape[1] - left
        grey = (self.pad_value,) * 3
        canvas = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey)
        return {"images": canvas[None], **self.controls}, scale, left, top

    def detect(self, jpeg: bytes) -> list[dict[str, Any]]:
        """Return the objects in an image, with box centres and sizes in pixels."""
        inputs, scale, left, top = self.inputs(jpeg)
        self._compiled = self._compiled or self.compile()
        outputs = self._compiled(inputs)
        boxes, scores, class_ids = outputs["boxes"][0], outputs["scores"][0], outputs["class_ids"][0]
        conf, iou = self.defaults["conf"], self.defaults["iou"]
        corners_size = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept = cv2.dnn.NMSBoxesBatched(
            corners_size.tolist(),
            scores.tolist(),
            class_ids.tolist(),
            conf,
            iou,
            top_k=self.defaults["max_det"],
        )
        found = []
        for index in kept:
            x1, y1, x2, y2 = ((boxes[index] - [left, top, left, top]) / scale).tolist()
            found.append(
                {
                    "x": (x1 + x2) / 2,
                    "y": (y1 + y2) / 2,
                    "width": x2 - x1,
                    "height": y2 - y1,
                    "class": self.class_names[class_ids[index]],
                    "class_id": int(class_ids[index]),
                    "confidence": float(scores[index]),
                }
            )
        return found


def create_app() -> FastAPI:
    """Return the app that detects with the artifact in the folder ARTIFACT."""
    app, detector = FastAPI(), Detector(Path(os.environ["ARTIFACT"]))

    @app.post("/detect")
    async def detect(request: Request) -> dict[str, Any]:
        return {"predictions": detector.detect(await request.body())}

    return app
