"""Callers that ask a real Triton for the starter, without the gateway."""

import shutil
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.threads import in_threads

ROOT = Path(__file__).resolve().parents[3]
MODEL = "starter-openvino"
ENSEMBLE = f"{MODEL}-detect"
MODELS = [MODEL, f"{MODEL}-nms", ENSEMBLE]
_TYPES = {"uint8": "UINT8", "int64": "INT64", "int32": "INT32", "float32": "FP32"}


def copy_starter(folder: Path) -> Path:
    """Copy the starter's models for Triton to a folder, and return it."""
    for model in MODELS:
        shutil.copytree(ROOT / "model_repository" / model, folder / model)
    return folder


def ask_triton(url: str, model: str = ENSEMBLE, *, top_k: int = 2, columns: int = 416, **times: float) -> str:
    """Send the golden image, cut to some columns; return the error that Triton answers, or "" without one.

    `times` may hold `timeout`, the microseconds that the request may wait in the queue, and `client_timeout`,
    the seconds after which the caller hangs up.
    """
    grpc = pytest.importorskip("tritonclient.grpc")
    values = {
        "images": np.load(ROOT / "model_repository" / MODEL / "1" / "golden.npz")["input"][:, :, :columns],
        "top_k": np.array([[top_k]], np.int64),
        "weight_threshold": np.array([[0]], np.float32),
    }
    if model == ENSEMBLE:
        values |= {
            "conf": np.array([0.25], np.float32),
            "iou": np.array([0.7], np.float32),
            "max_det": np.array([300], np.int32),
        }
    inputs = [
        grpc.InferInput(name, value.shape, _TYPES[value.dtype.name]).set_data_from_numpy(value)
        for name, value in values.items()
    ]
    with grpc.InferenceServerClient(url) as client:
        try:
            client.infer(model, inputs, **times)
        except grpc.InferenceServerException as error:
            return str(error)
    return ""


@contextmanager
def calling(url: str, callers: int, *models: str):
    """Ask for each model from several threads, again and again, until the block ends."""

    def call(model: str, stop: threading.Event) -> None:
        while not stop.is_set():
            if ask_triton(url, model):
                stop.wait(0.02)

    with in_threads([partial(call, model) for model in models for _ in range(callers)]):
        yield
